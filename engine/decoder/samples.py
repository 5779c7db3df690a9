"""What the decoder's process sends, as float32 of one or two channels.

Every sample is computed by itself: cutting a song into other blocks never changes a bit of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CENTRE = SURROUND = 0.7071
"""ITU-R BS.775: left + 0.7071 centre + 0.7071 left surround, likewise right; the LFE channel is left out."""
LEFT = {"FL": 1.0, "FC": CENTRE, "SL": SURROUND, "BL": SURROUND, "BC": 0.5, "FLC": 1.0, "TFL": SURROUND}
RIGHT = {"FR": 1.0, "FC": CENTRE, "SR": SURROUND, "BR": SURROUND, "BC": 0.5, "FRC": 1.0, "TFR": SURROUND}

LOUDEST = 2.0**32
"""Full scale = 1.0. More than floats that hold integers of 32 bits need; the squares of spectra far beyond leave
float32's range."""


FORMATS = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "flt": np.float32, "dbl": np.float64}
"""FFmpeg's names of sample formats; those whose planes are apart have a `p` behind."""
MOST_CHANNELS = 1024


class Nonsense(ValueError):
    """What no decoder of ours says."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How samples come: their type, whether each channel has a plane of its own, and the channels' names."""

    dtype: Any
    planar: bool
    channels: int
    names: tuple[str, ...]

    @classmethod
    def told(cls, message: Mapping[str, Any]) -> Kind:
        """Raises Nonsense: the message is the word of a process that has read untrusted bytes."""
        name, channels = str(message["format"]), message["channels"]
        planar = name.endswith("p")
        dtype = FORMATS.get(name[:-1] if planar else name)
        if dtype is None or type(channels) is not int or not 0 < channels <= MOST_CHANNELS:
            raise Nonsense
        return cls(dtype, planar, channels, tuple(map(str, message["names"])))


def as_samples(payload: bytearray, kind: Kind, channels: int) -> tuple[NDArray[np.float32], int]:
    """(frames, 1 or 2), full scale = 1.0, finite; and how many samples were not numbers, or beyond LOUDEST, and
    became silence. Channels that come one after the other stay so in memory. Raises Nonsense for a payload that is cut.
    """
    if len(payload) % (kind.channels * np.dtype(kind.dtype).itemsize):
        raise Nonsense
    values = np.frombuffer(payload, kind.dtype)
    values = values.reshape(kind.channels, -1).T if kind.planar else values.reshape(-1, kind.channels)
    if values.dtype == np.float32:
        samples = values
    else:
        samples = np.empty_like(values, np.float32)  # in the same order
        to_float(values, samples)
    if kind.channels != channels:
        samples = remix(samples, kind.names, channels)
    # Comparisons with what is not a number are false.
    if samples.max(initial=0) <= LOUDEST and samples.min(initial=0) >= -LOUDEST:
        return samples, 0
    honest = np.abs(samples) <= LOUDEST
    samples[~honest] = 0
    return samples, samples.size - int(honest.sum())


def to_float(values: NDArray[Any], samples: NDArray[np.float32]) -> None:
    """Any type of sample into `samples`, full scale = 1.0. Scales are powers of two: nothing is rounded twice."""
    if values.dtype == np.uint8:
        np.subtract(values, np.float32(128), out=samples)
        samples *= np.float32(2.0**-7)
    elif values.dtype.kind == "i":
        scale = np.float32(2.0 ** (1 - 8 * values.dtype.itemsize))
        np.multiply(values, scale, out=samples, dtype=np.float32, casting="unsafe")
    else:
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, and then silence
            samples[...] = values


def remix(samples: NDArray[np.float32], names: Sequence[str], channels: int) -> NDArray[np.float32]:
    """(frames, channels of the file) → (frames, channels); `names` are FFmpeg's for the file's channels."""
    if channels == 1:
        with np.errstate(over="ignore", invalid="ignore"):
            middle: NDArray[np.float32] = samples.mean(axis=1, keepdims=True, dtype=np.float32)
        return middle
    if samples.shape[1] == 1:
        return np.repeat(samples, 2, axis=1)
    sides = [[(index, side[name]) for index, name in enumerate(names) if name in side] for side in (LEFT, RIGHT)]
    if not all(sides):
        # Channels without places (a plain many-track file): the first two are the song.
        return np.ascontiguousarray(samples[:, :2])
    mixed = np.zeros((len(samples), 2), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for side, parts in enumerate(sides):
            for index, weight in parts:  # no matrix product: how BLAS adds depends on how many samples there are
                mixed[:, side] += samples[:, index] * np.float32(weight)
    return mixed

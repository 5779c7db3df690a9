"""What stems can be written as: containers, bit depths, bit rates and sample rates. Light: imports no codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from engine.errors import OutputUnsupported

Container = Literal["wav", "flac", "mp3", "ogg", "m4a"]
BitDepth = Literal[16, 24, "float"]
CONTAINERS: tuple[Container, ...] = get_args(Container)
BIT_DEPTHS: dict[Container, tuple[BitDepth, ...]] = {"wav": (16, 24, "float"), "flac": (16, 24)}
BIT_RATES = (128, 160, 192, 224, 256, 320)
"""kbit/s of the lossy containers: what MPEG-1 Layer III has between good enough and its end."""
DEFAULT_BIT_RATE = 256
"""Stems are mixed again, and what coding left out of each adds up: more than a finished song needs."""
MEDIA_TYPES: dict[Container, str] = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "m4a": "audio/mp4",
}
RATES: dict[Container, Sequence[int]] = {
    # Layer III of MPEG-2.5, MPEG-2 and MPEG-1.
    "mp3": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    # ISO 14496-3, table 1.16.
    "m4a": (7350, 8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000),
    # libvorbis has no settings beyond these.
    "ogg": range(4_000, 200_001),
    # RFC 9639, 9.1.2: what the header of a frame can say, in Hz and above that in tens of Hz.
    "flac": (*range(1, 65_536), *range(65_540, 655_351, 10)),
}
"""Hz; a WAV has any rate."""


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """One way of writing a stem. `bit_rate` in kbit/s, of lossy containers only; `bit_depth` of all others only.

    Vorbis has no bit rate but a quality: `bit_rate` is what that quality takes for stereo at 44.1 kHz.

    Raises OutputUnsupported for combinations that don't exist.
    """

    container: Container = "wav"
    bit_depth: BitDepth | None = 16
    bit_rate: int | None = None

    def __post_init__(self) -> None:
        if self.container not in CONTAINERS:
            raise OutputUnsupported(f"There is no format {self.container!r}; there are {', '.join(CONTAINERS)}.")
        depths = BIT_DEPTHS.get(self.container)
        if depths is None:
            if self.bit_depth is not None:
                raise OutputUnsupported(f"{self.container} has a bit rate, not a bit depth.")
            if self.bit_rate not in BIT_RATES:
                raise OutputUnsupported(f"{self.container} is written with {_listed(BIT_RATES)} kbit/s.")
        else:
            if self.bit_rate is not None:
                raise OutputUnsupported(f"{self.container} is lossless: it has a bit depth, not a bit rate.")
            if self.bit_depth not in depths:
                raise OutputUnsupported(f"{self.container} is written with a bit depth of {_listed(depths)}.")

    @property
    def lossless(self) -> bool:
        return self.bit_depth is not None

    @property
    def suffix(self) -> str:
        """With its dot."""
        return f".{self.container}"

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.container]

    def rate_for(self, rate: int) -> int:
        """The rate in Hz that the container has nearest to `rate`; the higher one of two equally near."""
        rates = RATES.get(self.container)
        if rates is None or rate in rates:
            return rate
        return min(rates, key=lambda one: (abs(one - rate), -one))

    def bit_rate_for(self, rate: int, channels: int) -> int | None:
        """The kbit/s that are possible at a rate (Hz) of the container: low rates have lower ones at most."""
        if self.bit_rate is None:
            return None
        if self.container == "mp3":
            # MPEG-2 ends at 160; LAME keeps to the 64 of a decoder's minimum in MPEG-2.5.
            return self.bit_rate if rate >= 32_000 else min(self.bit_rate, 160 if rate >= 16_000 else 64)
        if self.container == "m4a":
            # ISO 14496-3: 6144 bits at most for a channel's block of 1024 samples.
            return min(self.bit_rate, 6 * rate * channels // 1000)
        return self.bit_rate


@dataclass(frozen=True, slots=True)
class Output:
    """How stems were in fact written, for the receipt: rate in Hz, bit rate in kbit/s."""

    container: Container
    bit_depth: BitDepth | None
    bit_rate: int | None
    rate: int

    @property
    def clips(self) -> bool:
        """Whether samples beyond full scale can't be stored."""
        return self.bit_depth != "float"


def make_format(container: Container, bit_depth: BitDepth | None = None, bit_rate: int | None = None) -> OutputFormat:
    """`container` with its usual bit depth or bit rate where none is given.

    Raises OutputUnsupported for combinations that don't exist.
    """
    if container in BIT_DEPTHS:
        return OutputFormat(container, 16 if bit_depth is None else bit_depth, bit_rate)
    return OutputFormat(container, bit_depth, DEFAULT_BIT_RATE if bit_rate is None else bit_rate)


WAV_16 = OutputFormat()
WAV_24 = OutputFormat(bit_depth=24)
WAV_FLOAT = OutputFormat(bit_depth="float")


def _listed(values: Sequence[object]) -> str:
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}"

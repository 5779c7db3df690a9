"""Samples into files: one module per library that encodes, and what stands before them."""

from __future__ import annotations

from pathlib import Path

from engine.encoders.background import Background
from engine.encoders.base import Encoder
from engine.encoders.prepare import Resampled, Rounded
from engine.formats import OutputFormat
from engine.tags import Tags


def open_encoder(
    path: Path, format: OutputFormat, rate: int, channels: int, frames: int, tags: Tags | None = None
) -> Encoder:
    """A new file at `path`, with `tags` in it, that takes blocks (frames, channels) at `rate` Hz. `frames` is a
    guess of how many.

    Blocks are float32 within full scale for lossy formats and where the rate must change, else what
    `round_to_depth` makes of them. All but WAV are encoded in a thread of their own: writing samples as they
    are costs less than handing them over.
    """
    new_rate = format.rate_for(rate)
    encoder = _open(path, format, new_rate, channels, round(frames * new_rate / rate), tags)
    if new_rate != rate:
        if format.bit_depth is not None:
            encoder = Rounded(encoder, format.bit_depth)
        encoder = Resampled(encoder, rate, new_rate, channels)
    return encoder if format.container == "wav" else Background(encoder, path.name)


def _open(path: Path, format: OutputFormat, rate: int, channels: int, frames: int, tags: Tags | None) -> Encoder:
    # Imported late: a process that only names formats loads no codec.
    if format.container in ("mp3", "m4a"):
        from engine.encoders.ffmpeg import FFmpegEncoder

        return FFmpegEncoder(path, format, rate, channels, tags)
    from engine.encoders.sndfile import SndfileEncoder

    return SndfileEncoder(path, format, rate, channels, frames, tags)

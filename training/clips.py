"""What `lite` is measured on: recordings that nothing learns from.

stems       songs whose stems are known (`stems_eval`): mixture = vocals + accompaniment
mixed       real singers alone (`solo_vocals`) over real instrumental music (`instrumental`)
songs       without stems: where people sing in them and where not is written in passages.toml
instruments instrumental music alone: all of it is a passage without singing
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from engine.audio import Samples
from engine.audio_io import DecodeLimits, decode

RATE = 44100
PASSAGES = Path(__file__).with_name("passages.toml")
Span = tuple[float, float]
"""Seconds from and to."""
FLOOR_DB = 40.0
"""Nobody sings where true vocals are this far below their RMS for half a second."""
BLOCK = RATE // 2
MIXED = (("vocadito_10", "Vibe_Ace", 20.0), ("vocadito_10", "Sugar_Plum", 30.0), ("vocadito_14", "Vibe_Ace", 5.0))
"""(voice, music, where in the music in seconds)."""
MIXED_DB = -1.0
"""Vocals over accompaniment, where somebody sings."""
LONGEST_SECONDS = 60.0
"""Of music without stems."""


@dataclass(frozen=True, slots=True)
class EvaluationClip:
    """`mixture` (frames, 2) at 44.1 kHz; `stems` by name, or none; spans where people sing, and where only
    instruments do. A clip that is not stereo has two equal channels."""

    name: str
    group: str
    mixture: Samples
    stems: Mapping[str, Samples]
    sung: tuple[Span, ...]
    unsung: tuple[Span, ...]


def find_clips(data: Path) -> Iterator[EvaluationClip]:
    """Those of the folder's recordings that are there."""
    for folder in sorted((data / "stems_eval").glob("*/")):
        stems = {stem: read(folder / f"{stem}.flac") for stem in ("vocals", "accompaniment")}
        yield _known(folder.name, "stems", read(folder / "mixture.flac"), stems)
    for voice, music, start in MIXED:
        voices = list((data / "solo_vocals").glob(f"{voice}*"))
        musics = list((data / "instrumental").glob(f"*{music}*"))
        if voices and musics:
            yield _mixed(f"{voice} + {music}", read(voices[0]), read(musics[0]), start)
    passages = tomllib.loads(PASSAGES.read_text("utf-8"))
    for path in sorted((data / "songs").glob("*")):
        if path.name in passages:
            said = passages[path.name]
            end = max(stop for _, stop in [*said["sung"], *said["unsung"]])
            mixture = read(path)[: int(end * RATE)]
            yield EvaluationClip(path.stem, "songs", mixture, {}, _spans(said["sung"]), _spans(said["unsung"]))
    for path in sorted((data / "instrumental").glob("*")):
        mixture = read(path)[: int(LONGEST_SECONDS * RATE)]
        yield EvaluationClip(path.stem, "instruments", mixture, {}, (), ((0.0, len(mixture) / RATE),))


def read(path: Path) -> Samples:
    """(frames, 2) at 44.1 kHz."""
    with decode(path, DecodeLimits()) as decoding:
        samples = np.concatenate(list(decoding.blocks()))
        samples = np.asarray(soxr.resample(samples, decoding.rate, RATE), np.float32)
    return np.ascontiguousarray(np.broadcast_to(samples, (len(samples), 2)))


def _spans(said: list[list[float]]) -> tuple[Span, ...]:
    return tuple((float(start), float(end)) for start, end in said)


def _known(name: str, group: str, mixture: Samples, stems: Mapping[str, Samples]) -> EvaluationClip:
    sung, unsung = where_sung(stems["vocals"])
    return EvaluationClip(name, group, mixture, stems, sung, unsung)


def _mixed(name: str, voice: Samples, music: Samples, start: float) -> EvaluationClip:
    """The voice in the middle, from 1 s on, with 2 s of music alone after it."""
    length = len(voice) + 3 * RATE
    vocals = np.zeros((length, 2), np.float32)
    vocals[RATE : RATE + len(voice)] = voice
    band = music[int(start * RATE) :][:length]
    during = slice(RATE, RATE + len(voice))
    loudness = [float(np.sqrt(np.mean(np.square(sound[during])))) for sound in (vocals, band)]
    vocals *= np.float32(loudness[1] / loudness[0] * 10 ** (MIXED_DB / 20))
    gain = np.float32(0.9 / max(1.0, float(np.abs(vocals + band).max())))
    stems = {"vocals": vocals * gain, "accompaniment": band * gain}
    return _known(name, "mixed", stems["vocals"] + stems["accompaniment"], stems)


def where_sung(vocals: Samples) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Spans of half seconds with singing, and of those without."""
    blocks = len(vocals) // BLOCK
    powers = np.square(vocals[: blocks * BLOCK].astype(np.float64)).reshape(blocks, -1).mean(1)
    loud = powers > powers.mean() * 10 ** (-FLOOR_DB / 10)
    spans = [(number * BLOCK / RATE, (number + 1) * BLOCK / RATE) for number in range(blocks)]
    # A voice's last breath is neither.
    still = ~loud & ~np.roll(loud, 1) & ~np.roll(loud, -1)
    sung = tuple(span for span, is_loud in zip(spans, loud, strict=True) if is_loud)
    return sung, tuple(span for span, is_still in zip(spans, still, strict=True) if is_still)


def level_db(samples: Samples, spans: tuple[Span, ...]) -> float:
    """RMS over these spans in dBFS; no spans: not a number."""
    parts = [samples[int(start * RATE) : int(end * RATE)] for start, end in spans]
    if not parts:
        return float("nan")
    power = float(np.mean(np.square(np.concatenate(parts).astype(np.float64))))
    return float(10 * np.log10(power + 1e-12))

"""People who were recorded speaking: prompts of telephone exchanges, the words of a children's game in many languages.

Synthesisers' voices are even where people's are not. Whole sentences and single words are put one after the other, as
a line is; what the words mean, nobody will hear.
"""

from __future__ import annotations

import functools
from pathlib import Path

import av
import numpy as np
from scipy.signal import resample_poly

from training.synthesis.sound import RATE, Mono, Random

FOLDERS = {
    "/usr/share/asterisk/sounds/en_US_f_Allison": "asterisk-core-sounds-en-g722",
    "/usr/share/asterisk/sounds/es_MX_f_Allison": "asterisk-core-sounds-es-g722",
    "/usr/share/asterisk/sounds/fr_CA_f_June": "asterisk-core-sounds-fr-g722",
    "/usr/share/asterisk/sounds/it_IT_m_Carlo": "asterisk-core-sounds-it-g722",
    "/usr/share/asterisk/sounds/ru_RU_f_IvrvoiceRU": "asterisk-core-sounds-ru-g722",
    "/usr/share/ktuberling/sounds": "ktuberling-data",
}
"""Folder → its package in Debian and Ubuntu."""
SUFFIXES = {".g722", ".ogg", ".opus", ".wav"}
LEAST = 10
"""Files of one speaker."""
LEAST_RATE = 16_000
LEAST_SECONDS, MOST_SECONDS = 1.5, 5.0
QUIET = 1e-3


@functools.cache
def speakers() -> tuple[str, ...]:
    """Folders that hold one speaker's recordings each."""
    found: list[str] = []
    for folder in map(Path, FOLDERS):
        for path in [folder] if any(folder.glob("*.g722")) else sorted(folder.glob("*/")):
            files = recordings(str(path))
            if len(files) >= LEAST and read(files[0])[1] >= LEAST_RATE:
                found.append(str(path))
    return tuple(found)


@functools.cache
def recordings(speaker: str) -> tuple[Path, ...]:
    return tuple(sorted(path for path in Path(speaker).iterdir() if path.suffix in SUFFIXES))


def say(random: Random, speaker: str) -> tuple[Mono, int] | None:
    """(samples at RATE, the lowest rate that a recording had), peak 1; None when what was drawn is next to nothing."""
    parts: list[Mono] = []
    files, wanted, rate = recordings(speaker), random.uniform(LEAST_SECONDS, MOST_SECONDS) * RATE, RATE
    for number in random.permutation(len(files)):
        sound, found = read(files[int(number)])
        loud = np.flatnonzero(np.abs(sound) > QUIET)
        if not len(loud):
            continue
        rate = min(rate, found)
        parts += [sound[loud[0] : loud[-1] + 1], np.zeros(int(random.uniform(0, 0.15) * RATE))]
        if sum(map(len, parts)) >= wanted:
            break
    line = np.concatenate([*parts, np.zeros(0)])[: int(MOST_SECONDS * RATE)]
    return (line / np.abs(line).max(), rate) if len(line) >= LEAST_SECONDS * RATE else None


def read(path: Path) -> tuple[Mono, int]:
    """One channel at RATE, and the recording's own rate."""
    with av.open(str(path), format=_format(path), metadata_errors="ignore") as container:
        stream = container.streams.audio[0]
        rate = int(stream.rate or RATE)
        resampler = av.AudioResampler("flt", "mono", rate)
        frames = [*container.decode(stream), None]
        blocks = [made.to_ndarray().ravel() for frame in frames for made in resampler.resample(frame)]
    sound = np.concatenate([np.zeros(0), *blocks])
    common = int(np.gcd(RATE, rate))
    return np.asarray(resample_poly(sound, RATE // common, rate // common), np.float64), rate


def _format(path: Path) -> str | None:
    return "g722" if path.suffix == ".g722" else None  # it has no header to be known by


def missing() -> list[str]:
    return [package for folder, package in FOLDERS.items() if not Path(folder).is_dir()]

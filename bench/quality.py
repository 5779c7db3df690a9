"""How well stems are separated: `python -m bench.quality [FOLDER]` prints one table.

FOLDER holds a folder a clip, each with mixture.flac = vocals.flac + accompaniment.flac. Compared are
    mixture      the song itself, taken for both stems: what doing nothing gives
    mid/side     vocals = (L + R) / 2 on both channels, accompaniment = (L - R) / 2, sign and all
    lite         the embedded model, through `engine.separate`

Measured over the whole clip and both channels, in dB, without the filters and windows of BSS Eval v4:
    SDR     10 log10(|s|² / |s - e|²)
    SI-SDR  the same after s has been scaled to fit e best, s · <e, s> / |s|²
            (Le Roux, Wisdom, Erdogan, Hershey: "SDR - half-baked or well done?", ICASSP 2019)
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from engine.audio import Samples
from engine.audio_io import DecodeLimits
from engine.catalog import load_catalog
from engine.models.base import Separator
from engine.registry import load_separator
from engine.separate import separate
from engine.sink import DirectorySink

ROOT = Path(__file__).resolve().parent.parent
CLIPS = ROOT.parent / "shared" / "data" / "stems_eval"
STEMS = ("vocals", "accompaniment")


@dataclass(frozen=True, slots=True)
class Score:
    clip: str
    method: str
    stem: str
    sdr: float
    si_sdr: float


def sdr(reference: Samples, estimate: Samples) -> float:
    """dB; both (frames, channels)."""
    wanted, given = _flat(reference), _flat(estimate)
    return _ratio(wanted, wanted - given)


def si_sdr(reference: Samples, estimate: Samples) -> float:
    """dB; both (frames, channels); the scale is one number for all channels."""
    wanted, given = _flat(reference), _flat(estimate)
    target = wanted * (np.dot(given, wanted) / np.dot(wanted, wanted))
    return _ratio(target, target - given)


def score_clips(folder: Path, separator: Separator) -> Iterator[Score]:
    for clip in sorted(path for path in folder.iterdir() if path.is_dir()):
        mixture = _read(clip / "mixture.flac")
        estimates = {
            "mixture": dict.fromkeys(STEMS, mixture),
            "mid/side": _mid_side(mixture),
            separator.spec.id: _separated(clip / "mixture.flac", separator),
        }
        for method, stems in estimates.items():
            for stem in STEMS:
                reference = _read(clip / f"{stem}.flac")
                yield Score(clip.name, method, stem, sdr(reference, stems[stem]), si_sdr(reference, stems[stem]))


def mean_scores(scores: list[Score]) -> list[Score]:
    """The mean over clips of every method and stem, as clip `mean`."""
    means = []
    for method, stem in dict.fromkeys((score.method, score.stem) for score in scores):
        same = [score for score in scores if (score.method, score.stem) == (method, stem)]
        sdr_mean, si_sdr_mean = (sum(x) / len(same) for x in ([s.sdr for s in same], [s.si_sdr for s in same]))
        means.append(Score("mean", method, stem, sdr_mean, si_sdr_mean))
    return means


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else CLIPS
    if not folder.is_dir():
        sys.exit(f"No clips at {folder}. Give their folder: python -m bench.quality FOLDER")
    catalog = load_catalog(ROOT / "assets" / "models.toml")
    scores = list(score_clips(folder, load_separator(catalog["lite"], catalog, threads=2)))
    print("| clip | method | vocals SDR | vocals SI-SDR | accompaniment SDR | accompaniment SI-SDR |")
    print("|---|---|---:|---:|---:|---:|")
    rows: dict[tuple[str, str], list[str]] = {}
    for score in [*scores, *mean_scores(scores)]:
        rows.setdefault((score.clip, score.method), []).extend((f"{score.sdr:.2f}", f"{score.si_sdr:.2f}"))
    for (clip, method), values in rows.items():
        print(f"| {clip} | {method} | {' | '.join(values)} |")


def _separated(song: Path, separator: Separator) -> dict[str, Samples]:
    with tempfile.TemporaryDirectory() as folder:
        sink = DirectorySink(Path(folder), "float")
        separate(song, separator, sink, limits=DecodeLimits())
        return {stem: _read(sink.path(stem)) for stem in STEMS}


def _mid_side(mixture: Samples) -> dict[str, Samples]:
    left, right = mixture.T
    middle, side = (left + right) / 2, (left - right) / 2
    return {"vocals": np.stack([middle, middle], 1), "accompaniment": np.stack([side, -side], 1)}


def _read(path: Path) -> Samples:
    samples: Samples = soundfile.read(path, dtype="float32", always_2d=True)[0]
    return samples


def _flat(samples: Samples) -> NDArray[np.float64]:
    return samples.astype(np.float64).ravel()


def _ratio(wanted: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    """dB of energies; tiny ones stand for none, so that a perfect or an empty estimate has a number too."""
    return 10 * math.log10((np.dot(wanted, wanted) + 1e-20) / (np.dot(error, error) + 1e-20))


if __name__ == "__main__":
    main()

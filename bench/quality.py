"""How well stems are separated: `python -m bench.quality [FOLDER]` prints one table.

FOLDER holds a folder a clip, each with mixture.flac = vocals.flac + accompaniment.flac. Compared are
    mixture      the song itself, taken for both stems: what doing nothing gives
    mid/side     vocals = (L + R) / 2 on both channels, accompaniment = (L - R) / 2, sign and all
    oracle mask  the ratio mask |S|² / Σ|S|² of the true stems, in Spleeter's frames: what no mask can pass by much
    lite         the embedded model, through `engine.separate`; with --weights Spleeter's 2 stems as well

Measured over both channels, in dB:
    SDR       BSS Eval v4 by museval, the figure that separation is quoted in (see bench/run_museval.py); in
              an environment of its own (scripts/setup-bench), and left out without it. mir_eval's older BSS
              Eval forgives every filter of 512 taps window by window, and fast_bss_eval measures single
              channels.
    plain     10 log10(|s|² / |s - e|²) over the whole clip, with no filter forgiven
    SI-SDR    the same after s has been scaled to fit e best, s · <e, s> / |s|²
              (Le Roux, Wisdom, Erdogan, Hershey: "SDR - half-baked or well done?", ICASSP 2019)
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from engine.audio import Samples
from engine.audio_io import DecodeLimits
from engine.catalog import load_catalog
from engine.formats import make_format
from engine.models.base import Separator
from engine.registry import load_separator
from engine.separate import separate
from engine.sink import DirectorySink

ROOT = Path(__file__).resolve().parent.parent
CLIPS = ROOT.parent / "shared" / "data" / "stems_eval"
MUSEVAL = ROOT / ".venv-museval" / "bin" / "python"
STEMS = ("vocals", "accompaniment")
RATE = 44100
SIZE, HOP = 4096, 1024


@dataclass(frozen=True, slots=True)
class Score:
    clip: str
    method: str
    stem: str
    sdr: float
    """Plain, over the whole clip."""
    si_sdr: float
    museval_sdr: float = math.nan


def sdr(reference: Samples, estimate: Samples) -> float:
    """dB; both (frames, channels)."""
    wanted, given = _flat(reference), _flat(estimate)
    return _ratio(wanted, wanted - given)


def si_sdr(reference: Samples, estimate: Samples) -> float:
    """dB; both (frames, channels); the scale is one number for all channels."""
    wanted, given = _flat(reference), _flat(estimate)
    target = wanted * (np.dot(given, wanted) / np.dot(wanted, wanted))
    return _ratio(target, target - given)


def oracle_mask(references: Mapping[str, Samples], mixture: Samples) -> dict[str, Samples]:
    """Stems (frames, 2) from the mixture by the power ratio mask of the true ones."""
    powers = {stem: np.abs(_spectra(samples)) ** 2 for stem, samples in references.items()}
    total = sum(powers.values()) + 1e-10
    spectra = _spectra(mixture)
    return {stem: _waves(spectra * (power / total), len(mixture)) for stem, power in powers.items()}


def score_clips(folder: Path, *separators: Separator, museval: bool = False) -> Iterator[Score]:
    """Every clip by every method. `museval` takes its environment and some seconds for each clip."""
    for clip in sorted(path for path in folder.iterdir() if path.is_dir()):
        mixture = _read(clip / "mixture.flac")
        references = {stem: _read(clip / f"{stem}.flac") for stem in STEMS}
        estimates = {
            "mixture": dict.fromkeys(STEMS, mixture),
            "mid/side": _mid_side(mixture),
            "oracle mask": oracle_mask(references, mixture),
            **{each.spec.id: _separated(clip / "mixture.flac", each) for each in separators},
        }
        standard = _museval(clip, estimates) if museval else {}
        for method, stems in estimates.items():
            for stem in STEMS:
                wanted, given = references[stem], stems[stem]
                score = Score(clip.name, method, stem, sdr(wanted, given), si_sdr(wanted, given))
                yield replace(score, museval_sdr=standard.get((method, stem), math.nan))


def mean_scores(scores: list[Score]) -> list[Score]:
    """The mean over clips of every method and stem, as clip `mean`."""
    means = []
    for method, stem in dict.fromkeys((score.method, score.stem) for score in scores):
        same = [score for score in scores if (score.method, score.stem) == (method, stem)]
        columns = ([s.sdr for s in same], [s.si_sdr for s in same], [s.museval_sdr for s in same])
        means.append(Score("mean", method, stem, *(sum(column) / len(same) for column in columns)))
    return means


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.quality")
    parser.add_argument("folder", nargs="?", type=Path, default=CLIPS)
    parser.add_argument("--weights", type=Path, help="folder of Spleeter's published 2stems weights")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        sys.exit(f"No clips at {options.folder}. Give their folder: python -m bench.quality FOLDER")
    catalog = load_catalog(ROOT / "assets" / "models.toml")
    separators = [load_separator(catalog["lite"], catalog, threads=2)]
    if options.weights is not None:
        spleeter = load_separator(catalog["spleeter:2stems"], catalog, threads=2, weights_path=options.weights)
        separators.append(spleeter)
    if not MUSEVAL.exists():
        print("SDR by museval is left out: scripts/setup-bench makes its environment.", file=sys.stderr)
    scores = list(score_clips(options.folder, *separators, museval=MUSEVAL.exists()))
    for separator in separators:
        separator.close()
    columns = [f"{stem} {measure}" for stem in STEMS for measure in ("SDR", "plain", "SI-SDR")]
    print(f"| clip | method | {' | '.join(columns)} |")
    print("|---|---" + "|---:" * len(columns) + "|")
    rows: dict[tuple[str, str], list[str]] = {}
    for score in [*scores, *mean_scores(scores)]:
        numbers = (score.museval_sdr, score.sdr, score.si_sdr)
        rows.setdefault((score.clip, score.method), []).extend(
            "–" if math.isnan(number) else f"{number:.2f}" for number in numbers
        )
    for (clip, method), values in rows.items():
        print(f"| {clip} | {method} | {' | '.join(values)} |")


def _museval(clip: Path, estimates: Mapping[str, Mapping[str, Samples]]) -> dict[tuple[str, str], float]:
    """(method, stem) → SDR in dB."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = []
        for number, stems in enumerate(estimates.values()):
            folder = Path(temporary) / str(number)
            folder.mkdir()
            for stem, samples in stems.items():
                soundfile.write(folder / f"{stem}.wav", samples, RATE, subtype="FLOAT")
            folders += [str(clip), str(folder)]
        command: list[str | Path] = [MUSEVAL, Path(__file__).with_name("run_museval.py"), *folders]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    answers = json.loads(said.strip().splitlines()[-1])
    return {
        (method, stem): measures["SDR"]
        for method, answer in zip(estimates, answers, strict=True)
        for stem, measures in answer.items()
    }


def _separated(song: Path, separator: Separator) -> dict[str, Samples]:
    with tempfile.TemporaryDirectory() as folder:
        sink = DirectorySink(Path(folder), make_format("wav", "float"))
        separate(song, separator, sink, limits=DecodeLimits())
        return {stem: _read(sink.path(stem)) for stem in STEMS}


def _mid_side(mixture: Samples) -> dict[str, Samples]:
    left, right = mixture.T
    middle, side = (left + right) / 2, (left - right) / 2
    return {"vocals": np.stack([middle, middle], 1), "accompaniment": np.stack([side, -side], 1)}


def _spectra(samples: Samples) -> NDArray[np.complex128]:
    """(frames, 2) → (2, spectra, 2049): periodic Hann, the song between SIZE zeros before and as many after."""
    padded = np.pad(samples.T, ((0, 0), (SIZE, SIZE + -len(samples) % HOP)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, SIZE, axis=1)[:, ::HOP]
    return np.fft.rfft(frames * _window(), axis=2)


def _waves(spectra: NDArray[np.complex128], frames: int) -> Samples:
    """The inverse of `_spectra`: the squared window at a quarter's hop sums to 3/2."""
    waves = np.fft.irfft(spectra, n=SIZE, axis=2) * _window() * (2 / 3)
    whole = np.zeros((2, (waves.shape[1] - 1) * HOP + SIZE))
    for index in range(waves.shape[1]):
        whole[:, index * HOP : index * HOP + SIZE] += waves[:, index]
    return np.ascontiguousarray(whole[:, SIZE : SIZE + frames].T, np.float32)


def _window() -> NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SIZE) / SIZE)


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

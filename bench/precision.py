"""What fewer bits cost: `python -m bench.precision [CLIPS]` prints one table, precisions against f32.

For every model the mixtures of CLIPS (a folder a clip, each with mixture.flac and its stems as flac) are
separated in each precision that the processor has, by OpenVINO. Compared are
    dB from f32     10 log10(|s|² / |s - f|²), f the stem in f32 and s the one in fewer bits
    SDR             10 log10(|s|² / |s - e|²), e the estimate of a stem s that the clip has
    change          SDR less that of f32: what anyone could hear of it
Weights that are in the cache (VR_DATA_DIR, as the service's) are the published ones. In their place others are
random, whose distance from f32 is worth knowing and whose SDR is not.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from bench.quality import sdr
from engine.audio import Samples
from engine.catalog import Catalog, ModelSpec, load_catalog
from engine.errors import EngineError, RuntimeUnavailable
from engine.models.base import ArraySong, Separator
from engine.registry import load_separator
from engine.runtimes.base import Precision
from engine.weights import WeightsStore
from tests.engine.checkpoints import write_random_checkpoint

ROOT = Path(__file__).resolve().parent.parent
CLIPS = ROOT.parent / "shared" / "data" / "stems_eval"
MODELS = ("lite", "spleeter:2stems", "spleeter:4stems", "spleeter:5stems")
PRECISIONS: tuple[Precision, ...] = ("bf16", "f16", "int8")


@dataclass(frozen=True, slots=True)
class Cost:
    """dB; SDR and its change only where the weights are trained and the clip has the stem."""

    model: str
    weights: str
    precision: str
    clip: str
    stem: str
    from_f32: float
    sdr: float | None
    change: float | None


def measure(
    exact: Separator, other: Separator, clip: Path, *, weights: str, precision: str, trained: bool
) -> Iterator[Cost]:
    """One clip in f32 and in another precision, stem by stem."""
    mixture = _read(clip / "mixture.flac")
    expected, found = _stems(exact, mixture), _stems(other, mixture)
    for stem in exact.spec.stems:
        true = clip / f"{stem}.flac"
        before = sdr(_read(true), expected[stem]) if trained and true.exists() else None
        after = sdr(_read(true), found[stem]) if trained and true.exists() else None
        change = None if before is None or after is None else after - before
        distance = sdr(found[stem], expected[stem])
        yield Cost(exact.spec.id, weights, precision, clip.name, stem, distance, after, change)


@contextmanager
def weights_of(spec: ModelSpec, store: WeightsStore) -> Iterator[tuple[str, Path | None]]:
    """What the weights are, and their folder: none for embedded ones, random ones if there are no others."""
    if spec.archive is None:
        yield "embedded", None
    elif (folder := store.find(spec)) is not None:
        yield "published", folder
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield "random", write_random_checkpoint(Path(temporary) / "weights", len(spec.stems), len(spec.stems))


def costs_of(spec: ModelSpec, catalog: Catalog, store: WeightsStore, clips: list[Path]) -> Iterator[Cost | str]:
    """Every precision on every clip; a sentence for each precision that isn't here."""
    with weights_of(spec, store) as (weights, folder):

        def load(precision: Precision) -> Separator:
            threads = os.cpu_count() or 1
            return load_separator(
                spec, catalog, threads=threads, weights_path=folder, runtime="openvino", precision=precision
            )

        exact = load("f32")
        for precision in PRECISIONS:
            try:
                other = load(precision)
            except RuntimeUnavailable as error:
                yield f"{spec.id}, {precision}: {error}"
                continue
            for clip in clips:
                yield from measure(
                    exact, other, clip, weights=weights, precision=precision, trained=weights != "random"
                )
            other.close()
        exact.close()


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else CLIPS
    if not folder.is_dir():
        sys.exit(f"No clips at {folder}. Give their folder: python -m bench.precision CLIPS")
    clips = sorted(path for path in folder.iterdir() if path.is_dir())
    catalog = load_catalog(ROOT / "assets" / "models.toml")
    store = WeightsStore(Path(os.environ.get("VR_DATA_DIR", ROOT / "data")) / "models")
    print("| model | weights | precision | clip | stem | dB from f32 | SDR | change |")
    print("|---|---|---|---|---|---:|---:|---:|")
    notes: list[str] = []
    for model in MODELS:
        try:
            for cost in costs_of(catalog[model], catalog, store, clips):
                if isinstance(cost, str):
                    notes.append(cost)
                else:
                    print(_row(cost), flush=True)
        except EngineError as error:
            notes.append(f"{model}: {error}")
    print("", *notes, sep="\n")


def _row(cost: Cost) -> str:
    measured = "" if cost.sdr is None else f"{cost.sdr:.3f}", "" if cost.change is None else f"{cost.change:+.4f}"
    values = (cost.model, cost.weights, cost.precision, cost.clip, cost.stem, f"{cost.from_f32:.1f}", *measured)
    return f"| {' | '.join(values)} |"


def _stems(separator: Separator, mixture: Samples) -> Mapping[str, Samples]:
    parts = list(separator.stream(ArraySong(mixture), high_frequencies="average"))
    return {stem: np.concatenate([part[stem] for part in parts]) for stem in separator.spec.stems}


def _read(path: Path) -> Samples:
    samples: Samples = soundfile.read(path, dtype="float32", always_2d=True)[0]
    return samples


if __name__ == "__main__":
    main()

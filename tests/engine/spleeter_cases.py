"""What our Spleeter is compared with Spleeter itself on: models, songs, and where Spleeter is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from engine.audio import Samples
from engine.catalog import load_catalog
from engine.models import spleeter
from engine.models.base import ArraySong, HighFrequencies, Separator
from engine.runtimes.base import Precision
from engine.runtimes.choose import choose
from tests.engine.checkpoints import write_random_checkpoint

ROOT = Path(__file__).resolve().parents[2]
CATALOG = load_catalog(ROOT / "assets" / "models.toml")
GOLDEN = ROOT / "tests" / "golden" / "spleeter.npz"
GOLDEN_FRAMES = 60_000
GOLDEN_STEP = 61
"""Every so manieth frame is in the golden file: prime, so that it falls everywhere in hop and window."""

GOLDEN_CASES: tuple[tuple[str, HighFrequencies], ...] = (
    ("spleeter:2stems", "zeros"),
    ("spleeter:2stems", "average"),
    ("spleeter:2stems-16kHz", "average"),
    ("spleeter:4stems", "average"),
    ("spleeter:5stems", "zeros"),
)


def spleeter_python() -> Path:
    """The Python of Spleeter's environment, whether or not it is there."""
    named = os.environ.get("VR_SPLEETER_PYTHON")
    return Path(named) if named else ROOT / ".venv-spleeter" / "bin" / "python"


def random_weights(folder: Path, model: str) -> Path:
    stems = len(CATALOG[model].stems)
    return write_random_checkpoint(folder / f"{stems}stems", stems, seed=stems)


@contextmanager
def loaded(
    model: str, weights: Path | None = None, runtime: str = "onnxruntime", precision: Precision = "f32"
) -> Iterator[Separator]:
    """Our separator; without `weights` with random ones, which take up to 400 MB of disk while it loads."""
    with tempfile.TemporaryDirectory() as folder:
        weights = weights or random_weights(Path(folder), model)
        separator = spleeter.load(CATALOG[model], weights, choose(runtime), threads=2, precision=precision)
    try:
        yield separator
    finally:
        separator.close()


def song(frames: int, seed: int = 0, gain: float = 1.0) -> Samples:
    """(frames, 2): a chord that slides, a beat of noise and a different balance left and right."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(frames) / 44100
    chord = sum(
        np.sin(2 * np.pi * (pitch * seconds + 9 * np.sin(2 * np.pi * 0.7 * seconds))) / (1 + pitch / 500)
        for pitch in (110, 220, 331, 523, 1760, 5300, 9100, 13700)
    )
    beat = rng.standard_normal(frames) * np.exp(-12 * (seconds % 0.35))
    both = np.stack([0.12 * chord + 0.15 * beat, 0.07 * chord + 0.2 * np.roll(beat, 331)], axis=1)
    return (gain * both).astype(np.float32)


def separate(
    separator: Separator, samples: Samples, high_frequencies: HighFrequencies = "zeros", size: int = 10_000
) -> Mapping[str, Samples]:
    """The model alone, without files: every stem that it gives, (frames, 2)."""
    parts = separator.stream(ArraySong(samples, size), high_frequencies=high_frequencies)
    return joined(parts, separator)


def joined(parts: Iterator[Mapping[str, Samples]], separator: Separator) -> Mapping[str, Samples]:
    """Blocks of stems → whole stems, in the model's order; of no block, all of its stems without a sample."""
    got = list(parts)
    empty = np.zeros((0, 2), np.float32)
    stems = [stem for stem in separator.spec.stems if not got or stem in got[0]]
    return {stem: np.concatenate([empty, *(part[stem] for part in got)]) for stem in stems}


def decibels(found: Samples, expected: Samples) -> float:
    """Signal to error, dB."""
    error = np.sum((found.astype(np.float64) - expected) ** 2)
    return float(10 * np.log10(np.sum(expected.astype(np.float64) ** 2) / max(error, 1e-30)))

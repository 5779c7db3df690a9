"""Writes tests/golden/spleeter.npz: what Spleeter itself gives for the seeded song and weights.

Run as `python -m tests.golden.make_spleeter`, after scripts/setup-spleeter.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.runtimes import spleeter_tf
from tests.engine.spleeter_cases import (
    CATALOG,
    GOLDEN,
    GOLDEN_CASES,
    GOLDEN_FRAMES,
    GOLDEN_STEP,
    random_weights,
    separate,
    song,
    spleeter_python,
)


def main() -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for model, high_frequencies in GOLDEN_CASES:
        with tempfile.TemporaryDirectory() as folder:
            weights = random_weights(Path(folder), model)
            separator = spleeter_tf.load(CATALOG[model], weights, python=spleeter_python(), threads=2)
            stems = separate(separator, song(GOLDEN_FRAMES), high_frequencies)
        arrays[f"{model}/weights"] = np.array(separator.weights_sha256)
        for stem, samples in stems.items():
            arrays[f"{model}/{high_frequencies}/{stem}"] = samples[::GOLDEN_STEP]
    np.savez(GOLDEN, allow_pickle=False, **arrays)
    print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""The published weights themselves, where they are in the cache (`make weights`, `vocal-remover models pull`)."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.checkpoint import read_index
from engine.models.base import Separator
from engine.registry import load_separator
from engine.runtimes.base import Precision
from engine.weights import WeightsStore
from tests.engine.audio_files import decode_here
from tests.engine.spleeter_cases import CATALOG, ROOT, decibels, separate

DATA_SHA256 = "7747f9fd2c782306dbec1504360fbb645a097a48446f23486c3ff9c89bc11788"
PUBLISHED = ("spleeter:2stems", "spleeter:4stems", "spleeter:5stems")


def published(model: str) -> Path:
    store = WeightsStore(Path(os.environ.get("VR_DATA_DIR", ROOT / "data")) / "models")
    folder = store.find(CATALOG[model])
    if folder is None:
        pytest.skip(f"needs the published weights: run `vocal-remover models pull {model}`")
    return folder


def load(model: str, runtime: str, precision: Precision) -> Separator:
    return load_separator(
        CATALOG[model], CATALOG, threads=2, weights_path=published(model), runtime=runtime, precision=precision
    )


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_weights_load_and_their_masks_sum_to_one(model: str, warmup: Path) -> None:
    separator = load(model, "onnxruntime", "f32")
    music = decode_here(warmup)[0][: 5 * 44_100]
    stems = separate(separator, music, "average")
    separator.close()
    assert tuple(stems) == CATALOG[model].stems
    np.testing.assert_allclose(sum(stems.values()), music, atol=1e-5)


def test_two_stems_are_the_published_ones(shared: Path) -> None:
    folder = published("spleeter:2stems")
    separator = load("spleeter:2stems", "onnxruntime", "f32")
    separator.close()
    assert separator.weights_sha256 == DATA_SHA256
    with (shared / "data" / "weights" / "official_2stems_tensors.csv").open(newline="") as table:
        _, *rows = csv.reader(table)
    found = [[entry.name, f"{entry.masked_crc32c:08x}"] for entry in read_index(folder / "model.index")]
    assert found == [[row[0], row[-1]] for row in rows]


@pytest.mark.parametrize(
    ("runtime", "precision", "limit"),
    [("onnxruntime", "f32", 60), ("openvino", "f32", 60), ("openvino", "bf16", 35)],
)
def test_stems_are_those_that_spleeter_published(
    shared: Path, runtime: str, precision: Precision, limit: float
) -> None:
    """`spleeter_reference` is what spleeter 2.4.0 wrote for its example song, 16 bits, as long as ours."""
    separator = load("spleeter:2stems", runtime, precision)
    music = decode_here(shared / "data" / "songs" / "spleeter_audio_example.mp3")[0]
    stems = separate(separator, music, "zeros")
    separator.close()
    for stem, samples in stems.items():
        path = shared / "data" / "spleeter_reference" / f"audio_example_{stem}.flac"
        expected = soundfile.read(path, dtype="float32", always_2d=True)[0]
        assert samples.shape == expected.shape
        assert decibels(np.clip(samples, -1, 1), expected) >= limit, stem

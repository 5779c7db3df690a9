"""The embedded model against the study that trained it, and against itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.audio import Samples
from engine.catalog import Catalog
from engine.errors import WeightsCorrupt, WeightsUnavailable
from engine.models import lite as lite_model
from engine.models.base import ArraySong, HighFrequencies, Separator
from engine.registry import load_separator
from engine.runtimes.onnx import OnnxRuntime
from tests.engine.audio_files import decode_here

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
RATE = 44100


def separated(
    separator: Separator, song: Samples, size: int = 30_000, high: HighFrequencies = "average"
) -> dict[str, Samples]:
    parts = list(separator.stream(ArraySong(song, size), high_frequencies=high))
    return {stem: np.concatenate([part[stem] for part in parts]) for stem in parts[0]}


def likeness(reference: Samples, other: Samples) -> float:
    """dB of the reference over the difference."""
    difference = float(np.sum(np.square(reference - other, dtype=np.float64)))
    return float(10 * np.log10(np.sum(np.square(reference, dtype=np.float64)) / max(difference, 1e-30)))


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("warmup", 4.0),
        # Three seconds around the seam of the second and third chunk, 40.12 s.
        ("example", 38.6),
    ],
)
def test_equals_the_study(name: str, begin: float, lite: Separator) -> None:
    """The golden files are what the study's own script gave for these songs, rounded to 16 bits."""
    song, _ = decode_here(ROOT / "data" / "sample" / f"{name}.mp3")
    stems = separated(lite, song)
    start = int(begin * RATE)
    for stem, samples in stems.items():
        golden, _ = soundfile.read(GOLDEN / f"lite_{name}_{stem}.flac", dtype="float32")
        assert likeness(golden, samples[start : start + len(golden)]) >= 60


def test_equals_the_study_when_it_runs_here(shared: Path, warmup: Path, lite: Separator, tmp_path: Path) -> None:
    python = os.environ.get("VR_TRAINING_PYTHON", str(ROOT / ".venv-training" / "bin" / "python"))
    asked = "import torch, soundfile" if Path(python).exists() else None
    if asked is None or subprocess.run([python, "-c", asked], capture_output=True, check=False).returncode:
        pytest.skip("needs a Python with torch and soundfile: VR_TRAINING_PYTHON or .venv-training")
    song, _ = decode_here(warmup)
    soundfile.write(tmp_path / "song.wav", song, RATE, subtype="FLOAT")
    command = [python, "separate.py", str(tmp_path / "song.wav")]
    outputs = [str(tmp_path / f"{stem}.wav") for stem in lite.spec.stems]
    subprocess.run([*command, *outputs], cwd=shared / "lite", check=True, capture_output=True)
    stems = separated(lite, song)
    for stem, output in zip(lite.spec.stems, outputs, strict=True):
        study, _ = soundfile.read(output, dtype="float32")
        assert likeness(study, np.clip(stems[stem], -1, 1)) >= 60


def test_block_sizes_do_not_matter(lite: Separator, example: Path) -> None:
    song = decode_here(example)[0][: 45 * RATE]
    one, other = separated(lite, song, 22_050), separated(lite, song, 7_777)
    for stem in lite.spec.stems:
        np.testing.assert_array_equal(one[stem], other[stem])


@pytest.mark.parametrize("frames", [1, 2, 100, 2047, 2048, 2049, 5000, 64 * 1024 + 3072])
def test_every_length_keeps_its_length_and_sum(frames: int, lite: Separator, music: Samples) -> None:
    song = np.resize(music, (frames, 2))
    stems = separated(lite, song, 1000)
    for samples in stems.values():
        assert samples.shape == song.shape
        assert np.isfinite(samples).all()
    np.testing.assert_allclose(stems["vocals"] + stems["accompaniment"], song, atol=1e-6)


def test_silence_stays_silent(lite: Separator) -> None:
    for samples in separated(lite, np.zeros((RATE, 2), np.float32)).values():
        assert not samples.any()


def test_loudness_does_not_matter(lite: Separator, music: Samples) -> None:
    loud, soft = separated(lite, music), separated(lite, music * np.float32(0.01))
    for stem in lite.spec.stems:
        assert likeness(loud[stem], soft[stem] * 100) >= 60


def test_zeros_leaves_the_vocals_nothing_above_the_network(lite: Separator, music: Samples) -> None:
    def treble(samples: Samples) -> float:
        spectrum = np.abs(np.fft.rfft(samples[:, 0] * np.hanning(len(samples))))
        return float(np.sum(spectrum[int(11_500 / RATE * len(samples)) :] ** 2))

    without = separated(lite, music, high="zeros")["vocals"]
    carried = separated(lite, music, high="average")["vocals"]
    assert treble(without) < treble(carried) * 1e-3


def test_a_changed_graph_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    spec = catalog["lite"]
    assert spec.graph is not None
    changed = tmp_path / "lite.onnx"
    shutil.copy(catalog.assets / spec.graph, changed)
    with changed.open("r+b") as file:
        file.seek(100_000)
        file.write(b"\xff")
    with pytest.raises(WeightsCorrupt):
        lite_model.load(spec, changed, OnnxRuntime(), threads=1)
    with pytest.raises(WeightsUnavailable):
        load_separator(replace(spec, graph="models/none.onnx"), catalog, threads=1)


def test_importing_the_engine_imports_no_runtime() -> None:
    code = (
        "import sys, engine.separate, engine.registry, engine.models.lite, engine.warmup, engine.runtimes.onnx\n"
        "print([name for name in ('onnxruntime', 'openvino', 'tensorflow', 'spleeter', 'av') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"

"""Spleeter's models: as a stream, against golden samples of Spleeter itself, and Spleeter as a runtime."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from engine.errors import AudioTooLong, EngineError, RuntimeUnavailable, WeightsCorrupt
from engine.models import spleeter
from engine.models.base import ArraySong, HighFrequencies, Separator
from engine.runtimes import spleeter_tf
from engine.runtimes.onnx import OnnxRuntime
from tests.engine.checkpoints import random_tensors, write_checkpoint
from tests.engine.spleeter_cases import (
    CATALOG,
    GOLDEN,
    GOLDEN_CASES,
    GOLDEN_FRAMES,
    GOLDEN_STEP,
    ROOT,
    decibels,
    joined,
    loaded,
    random_weights,
    separate,
    song,
    spleeter_python,
)

needs_spleeter = pytest.mark.skipif(
    not spleeter_python().exists(),
    reason="needs .venv-spleeter: run scripts/setup-spleeter, or name its python in VR_SPLEETER_PYTHON",
)


@pytest.fixture(scope="module")
def weights() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:  # 78 MB that pytest shouldn't keep
        yield random_weights(Path(folder), "spleeter:2stems")


@pytest.fixture(scope="module")
def two_stems(weights: Path) -> Iterator[Separator]:
    with loaded("spleeter:2stems", weights) as separator:
        yield separator


@pytest.mark.parametrize("frames", [1, 1023, 1024, 4096, 4097, 44_100, 508 * 1024, 508 * 1024 + 1])
def test_stems_are_as_long_as_the_song_and_sum_to_it(two_stems: Separator, frames: int) -> None:
    samples = song(frames)
    stems = separate(two_stems, samples, "average")
    assert {stem: wave.shape for stem, wave in stems.items()} == {
        "vocals": (frames, 2),
        "accompaniment": (frames, 2),
    }
    assert np.abs(stems["vocals"] + stems["accompaniment"] - samples).max() < 1e-5


def test_the_sizes_of_the_blocks_change_no_bit(two_stems: Separator) -> None:
    samples = song(600_000)
    whole = separate(two_stems, samples, size=len(samples))
    pieces = separate(two_stems, samples, size=7_777)
    for stem in whole:
        np.testing.assert_array_equal(whole[stem], pieces[stem])


def test_what_comes_later_changes_no_patch_before(two_stems: Separator) -> None:
    samples = song(900_000)
    first = two_stems.patch_start(1)  # the samples that only the first patch has a say in
    long, short = separate(two_stems, samples), separate(two_stems, samples[:600_000])
    for stem in long:
        np.testing.assert_array_equal(long[stem][:first], short[stem][:first])


def test_nothing_lies_above_the_seen_bins_unless_it_is_asked_for(two_stems: Separator) -> None:
    samples = song(100_000)

    def above(high_frequencies: HighFrequencies) -> float:
        wave = separate(two_stems, samples, high_frequencies)["vocals"][:, 0]
        spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
        return float(spectrum[len(spectrum) * 1100 // 2048 :].sum() / spectrum.sum())

    assert above("zeros") < 1e-9
    assert above("average") > 1e-3


def test_mixture_leaves_the_last_stem_to_the_song(two_stems: Separator) -> None:
    samples = song(50_000)
    mixture, average = separate(two_stems, samples, "mixture"), separate(two_stems, samples, "average")
    assert list(mixture) == ["vocals"]
    np.testing.assert_array_equal(mixture["vocals"], average["vocals"])


def test_silence_stays_silent_and_no_song_gives_no_stems(two_stems: Separator) -> None:
    for wave in separate(two_stems, np.zeros((50_000, 2), np.float32)).values():
        assert np.abs(wave).max() < 1e-6
    assert all(len(wave) == 0 for wave in separate(two_stems, song(0)).values())


def test_two_songs_at_once_get_what_they_get_alone(two_stems: Separator) -> None:
    songs = [song(100_000, seed) for seed in (1, 2)]
    alone = [separate(two_stems, samples) for samples in songs]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda samples: separate(two_stems, samples), songs))
    for expected, found in zip(alone, together, strict=True):
        np.testing.assert_array_equal(found["vocals"], expected["vocals"])


def test_leaving_early_stops_every_thread(two_stems: Separator) -> None:
    before = threading.active_count()
    stream = two_stems.stream(ArraySong(song(1_200_000)))
    next(iter(stream))
    stream.close()
    assert threading.active_count() == before


def test_the_graph_is_built_once_and_the_receipt_names_the_data_file(weights: Path, tmp_path: Path) -> None:
    spec = CATALOG["spleeter:2stems"]
    first = spleeter.load(spec, weights, OnnxRuntime(), threads=1, graph_cache=tmp_path)
    (graph,) = tmp_path.iterdir()
    made = graph.stat().st_mtime_ns
    second = spleeter.load(spec, weights, OnnxRuntime(), threads=1, graph_cache=tmp_path)
    assert [path.stat().st_mtime_ns for path in tmp_path.iterdir()] == [made]
    graph.unlink()  # 78 MB that pytest shouldn't keep
    data = (weights / "model.data-00000-of-00001").read_bytes()
    assert first.weights_sha256 == second.weights_sha256 == hashlib.sha256(data).hexdigest()
    assert second.runtime.name == "onnxruntime"


@pytest.mark.parametrize("model", ["spleeter:4stems", "spleeter:5stems", "spleeter:5stems-16kHz"])
def test_weights_of_another_model_are_refused(weights: Path, model: str) -> None:
    with pytest.raises(WeightsCorrupt, match="lack the tensor conv2d_14/kernel"):
        spleeter.load(CATALOG[model], weights, OnnxRuntime(), threads=1)


def test_importing_the_model_imports_no_runtime() -> None:
    program = (
        "import sys, engine.models.spleeter, engine.runtimes.spleeter_tf, engine.weights\n"
        "heavy = {'onnx', 'onnxruntime', 'tensorflow', 'spleeter'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize(("model", "high_frequencies"), GOLDEN_CASES)
def test_samples_are_those_of_spleeter_itself(model: str, high_frequencies: HighFrequencies) -> None:
    golden = np.load(GOLDEN)
    with loaded(model) as separator:
        assert separator.weights_sha256 == str(golden[f"{model}/weights"]), "other random weights: make it anew"
        stems = separate(separator, song(GOLDEN_FRAMES), high_frequencies)
    for stem, samples in stems.items():
        assert decibels(samples[::GOLDEN_STEP], golden[f"{model}/{high_frequencies}/{stem}"]) >= 90, stem


@needs_spleeter
def test_spleeter_itself_is_a_runtime_like_the_others(weights: Path, two_stems: Separator) -> None:
    """`test_parity` compares many songs; this is the separator that the service can run."""
    spec, samples = CATALOG["spleeter:2stems"], song(13 * 44_100 + 77, seed=3)
    reference = spleeter_tf.load(spec, weights, python=spleeter_python(), threads=2)
    assert reference.runtime.version.startswith("spleeter 2.4.2 on tensorflow-cpu 2.15")
    assert reference.weights_sha256 == two_stems.weights_sha256
    assert reference.patch_samples == two_stems.patch_samples
    assert reference.patch_start(1) == two_stems.patch_start(1)
    parts = reference.stream(ArraySong(samples), high_frequencies="mixture", start_patch=1)
    expected = joined(parts, reference)
    found = separate(two_stems, samples, "mixture")["vocals"][two_stems.patch_start(1) :]
    assert list(expected) == ["vocals"]
    assert decibels(found, expected["vocals"]) >= 90


@needs_spleeter
def test_the_reference_refuses_long_songs_and_says_why_it_failed(tmp_path: Path) -> None:
    spec = CATALOG["spleeter:2stems"]
    write_checkpoint(tmp_path, {name: t for name, t in random_tensors().items() if "batch" in name})
    reference = spleeter_tf.load(spec, tmp_path, python=spleeter_python(), threads=2, max_seconds=1)
    with pytest.raises(AudioTooLong, match="1 seconds"):
        separate(reference, song(44_101))
    with pytest.raises(EngineError, match="NotFoundError: Restoring from checkpoint failed"):
        separate(reference, song(1000))
    assert separate(reference, song(0))["vocals"].shape == (0, 2)


def test_a_missing_reference_is_unavailable(weights: Path) -> None:
    spec = CATALOG["spleeter:2stems"]
    for python in (Path("/nowhere/python"), Path(sys.executable)):
        with pytest.raises(RuntimeUnavailable, match="setup-spleeter"):
            spleeter_tf.load(spec, weights, python=python, threads=1)

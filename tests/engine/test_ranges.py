"""A song in ranges of patches, one after the other, resumed or in several processes: the bits of one pass."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import soundfile

from engine.audio import AudioInfo, Samples
from engine.audio_io import DecodeLimits, probe
from engine.errors import AudioEmpty
from engine.formats import OutputFormat
from engine.models.base import ArraySong, HighFrequencies, Separator
from engine.receipt import Receipt
from engine.registry import load_separator
from engine.runtimes.base import Precision
from engine.separate import patch_count, separate
from engine.sink import DirectorySink, NullSink
from tests.engine.audio_files import encode
from tests.engine.spleeter_cases import CATALOG, ROOT, joined, random_weights, song

LIMITS = DecodeLimits(seconds=300)
SECONDS = 42.3
"""Four patches of Spleeter (11.9 s), three of lite (20.1 s), the last ones not full."""
CASES: list[tuple[str, str, HighFrequencies]] = [
    ("cd.wav", "spleeter:2stems", "mixture"),
    ("mono.wav", "spleeter:2stems", "average"),
    ("mono.wav", "lite", "mixture"),
    ("studio.flac", "spleeter:2stems", "mixture"),
    ("studio.flac", "spleeter:2stems", "average"),
    ("studio.flac", "lite", "average"),
    ("song.mp3", "spleeter:2stems", "zeros"),
]
"""Song, model, high frequencies."""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Songs and weights, 100 MB that pytest shouldn't keep."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def songs(place: Path) -> Path:
    low, high = (song(int(SECONDS * rate), seed=5) for rate in (44_100, 48_000))
    soundfile.write(place / "cd.wav", low, 44_100, "PCM_16")
    soundfile.write(place / "mono.wav", low[:, 0], 44_100, "PCM_16")
    soundfile.write(place / "studio.flac", high, 48_000, "PCM_24")
    encode(place / "song.mp3", high, 48_000, "libmp3lame")
    return place


@pytest.fixture(scope="module")
def models(place: Path) -> Iterator[dict[str, Separator]]:
    weights = {"lite": None, "spleeter:2stems": random_weights(place, "spleeter:2stems")}
    loaded = {model: load(model, folder) for model, folder in weights.items()}
    yield loaded
    for separator in loaded.values():
        separator.close()


def load(
    model: str, weights: Path | None, runtime: str = "onnxruntime", precision: Precision | Literal["auto"] = "f32"
) -> Separator:
    return load_separator(
        CATALOG[model], CATALOG, threads=2, weights_path=weights, runtime=runtime, precision=precision
    )


def run(source: Path, separator: Separator, folder: Path, **options: Any) -> tuple[Receipt, dict[str, Samples]]:
    sink = DirectorySink(folder, OutputFormat("wav", "float"))
    receipt = separate(source, separator, sink, limits=LIMITS, info=probed(source), **options)
    stems = {stem: read(sink.path(stem)) for stem in separator.spec.stems}
    assert all(len(samples) == receipt.frames_out for samples in stems.values())
    return receipt, stems


@functools.cache
def probed(source: Path) -> AudioInfo:
    return probe(source, LIMITS)


def read(path: Path) -> Samples:
    samples: Samples = soundfile.read(path, dtype="float32", always_2d=True)[0]
    return samples


@pytest.mark.parametrize(("name", "model", "high"), CASES)
def test_ranges_one_after_the_other_are_one_pass(
    name: str, model: str, high: HighFrequencies, songs: Path, models: dict[str, Separator], tmp_path: Path
) -> None:
    source, separator = songs / name, models[model]
    whole, expected = run(source, separator, tmp_path / "whole", high_frequencies=high)
    count = patch_count(separator, probed(source))
    assert count == {"lite": 3, "spleeter:2stems": 4}[model]
    found: dict[str, list[Samples]] = {stem: [] for stem in expected}
    done = 0
    for patch in range(count):
        last = patch == count - 1
        receipt, stems = run(
            source,
            separator,
            tmp_path / str(patch),
            high_frequencies=high,
            start_patch=patch,
            patches=None if last else 1,
        )
        assert receipt.first_frame == done
        done += receipt.frames_out
        for stem, samples in stems.items():
            found[stem].append(samples)
    assert done == whole.frames_out
    for stem, samples in expected.items():
        assert samples.any()
        np.testing.assert_array_equal(np.concatenate(found[stem]), samples)


@pytest.mark.parametrize(("name", "model"), [("studio.flac", "spleeter:2stems"), ("cd.wav", "lite")])
def test_a_run_resumed_at_any_patch_goes_on_with_the_same_bits(
    name: str, model: str, songs: Path, models: dict[str, Separator], tmp_path: Path
) -> None:
    """Of a part of the song, made louder: what a task may ask for."""
    source, separator = songs / name, models[model]
    part = {"start_seconds": 1.234, "duration_seconds": 40.5, "gain_db": 3.0}
    whole, expected = run(source, separator, tmp_path / "whole", **part)
    count = patch_count(separator, probed(source), part["start_seconds"], part["duration_seconds"])
    assert patch_count(separator, probed(source), part["start_seconds"], 0.0) == 1
    for patch in range(1, count):
        receipt, stems = run(source, separator, tmp_path / str(patch), start_patch=patch, **part)
        assert receipt.first_frame + receipt.frames_out == whole.frames_out
        for stem, samples in stems.items():
            np.testing.assert_array_equal(samples, expected[stem][receipt.first_frame :])


CHILD = """
import json, sys
from pathlib import Path
from tests.engine.test_ranges import load, run
source, model, weights, folder, start, patches = json.loads(sys.argv[1])
separator = load(model, Path(weights) if weights else None)
receipt, _ = run(Path(source), separator, Path(folder), start_patch=start, patches=patches)
print(json.dumps([receipt.first_frame, receipt.frames_out]))
"""


@pytest.mark.parametrize(("name", "model"), [("studio.flac", "spleeter:2stems"), ("mono.wav", "lite")])
def test_processes_that_share_a_song_give_one_pass(
    name: str, model: str, songs: Path, models: dict[str, Separator], tmp_path: Path
) -> None:
    weights = str(songs / "2stems") if model != "lite" else ""
    shares: list[tuple[int, int | None]] = [(0, 2), (2, None)]
    children = []
    for number, share in enumerate(shares):
        task = json.dumps([str(songs / name), model, weights, str(tmp_path / str(number)), *share])
        children.append(
            subprocess.Popen([sys.executable, "-c", CHILD, task], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        )
    answers = [json.loads(child.communicate()[0].splitlines()[-1]) for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert answers[1][0] == answers[0][1] > 0
    _, expected = run(songs / name, models[model], tmp_path / "whole")
    for stem, samples in expected.items():
        shared = [read(tmp_path / str(number) / f"{stem}.wav") for number in range(len(shares))]
        np.testing.assert_array_equal(np.concatenate(shared), samples)


@pytest.mark.parametrize("model", ["spleeter:2stems", "lite"])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_song_that_ends_beside_a_boundary(model: str, extra: int, models: dict[str, Separator]) -> None:
    """The model alone, a sample before, at and after the start of its second patch's output."""
    separator = models[model]
    boundary = separator.patch_start(1)
    samples = song(boundary + extra)
    whole = joined(separator.stream(ArraySong(samples), high_frequencies="average"), separator)
    resumed = joined(separator.stream(ArraySong(samples), high_frequencies="average", start_patch=1), separator)
    for stem in whole:
        assert len(whole[stem]) == len(samples)
        np.testing.assert_array_equal(resumed[stem], whole[stem][boundary:])


@pytest.mark.parametrize("precision", ["f32", "auto"])
def test_the_fastest_runtime_gives_the_same_bits_too(precision: Precision | Literal["auto"], place: Path) -> None:
    """OpenVINO in f32, and in what the processor has."""
    separator = load("spleeter:2stems", random_weights(place, "spleeter:2stems"), "openvino", precision)
    samples = song(2 * separator.patch_samples + 12_345)
    whole = joined(separator.stream(ArraySong(samples)), separator)
    for patch in (1, 2):
        resumed = joined(separator.stream(ArraySong(samples, 5_000), start_patch=patch), separator)
        np.testing.assert_array_equal(resumed["vocals"], whole["vocals"][separator.patch_start(patch) :])
    separator.close()


def test_a_range_behind_the_song_is_empty(songs: Path, models: dict[str, Separator]) -> None:
    with pytest.raises(AudioEmpty):
        separate(songs / "cd.wav", models["lite"], NullSink(), limits=LIMITS, start_patch=3)

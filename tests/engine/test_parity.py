"""Spleeter itself against ours, on the same random weights: samples, and the 16-bit files that both write."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import soundfile

from engine.audio import AudioInfo, Samples
from engine.audio_io import DecodeLimits
from engine.errors import RuntimeUnavailable
from engine.models.base import HighFrequencies
from engine.runtimes.base import Precision
from engine.separate import separate as separate_file
from engine.sink import DirectorySink
from tests.engine.spleeter_cases import decibels, loaded, random_weights, separate, spleeter_python
from tests.engine.spleeter_reference import RATE, SONGS, Reference, Run, Song, run_spleeter

pytestmark = [
    pytest.mark.skipif(
        not spleeter_python().exists(),
        reason="needs .venv-spleeter: run scripts/setup-spleeter, or name its python in VR_SPLEETER_PYTHON",
    ),
    pytest.mark.timeout(900),  # for Spleeter itself, on a busy machine and with VR_PARITY=full
]

FULL = os.environ.get("VR_PARITY") == "full"
"""Every song with every configuration: some minutes. Without it every song and every configuration once."""
EVERY = tuple(range(len(SONGS)))
SOME, OTHERS = (EVERY, EVERY) if FULL else (EVERY[::2], EVERY[1::2])

RUNS = {
    "spleeter:2stems": (
        Run("spleeter:2stems", "zeros", EVERY),
        Run("spleeter:2stems", "average", SOME),
        Run("spleeter:2stems-16kHz", "average", EVERY if FULL else (1,)),
        Run("spleeter:2stems", "zeros", (1,), alone=True),
    ),
    "spleeter:4stems": (
        Run("spleeter:4stems", "zeros", EVERY if FULL else (1,)),
        Run("spleeter:4stems", "average", OTHERS),
    ),
    "spleeter:5stems": (
        Run("spleeter:5stems", "zeros", SOME),
        Run("spleeter:5stems", "average", EVERY if FULL else (1,)),
    ),
}
"""Archive of weights → what Spleeter does with them in one process."""


@dataclass(frozen=True, slots=True)
class Compared:
    archive: str
    weights: Path
    runs: tuple[Run, ...]
    reference: Reference


@pytest.fixture(scope="module", params=RUNS)
def compared(request: pytest.FixtureRequest) -> Iterator[Compared]:
    """One archive of weights at a time: they take 200 MB of disk."""
    runs = RUNS[request.param]
    with tempfile.TemporaryDirectory() as folder:
        weights = random_weights(Path(folder), request.param)
        results = Path(folder) / "spleeter"
        results.mkdir()
        yield Compared(request.param, weights, runs, run_spleeter(weights, runs, results))


def extension(run: Run) -> HighFrequencies:
    return cast(HighFrequencies, run.extension)


def stereo(samples: Samples) -> Samples:
    return np.repeat(samples, 2, axis=1) if samples.shape[1] == 1 else samples


def below(limit: float, found: Samples, expected: Samples) -> str:
    """What is wrong, if anything: less than `limit` dB from Spleeter, or where that is silent, not silent."""
    if found.shape != expected.shape:
        return f"{found.shape}, not {expected.shape}"
    if not expected.any():
        return "" if np.abs(found).max() < 1e-6 else f"{np.abs(found).max():.1e}, not silent"
    ratio = decibels(found, expected)
    return "" if ratio >= limit else f"{ratio:.1f} dB"


def samples_below(
    limit: float, compared: Compared, runtime: str, precision: Precision, songs: Sequence[Song] = SONGS
) -> list[str]:
    """The stems of every song that are less than `limit` dB from Spleeter's samples."""
    faults = []
    for run in compared.runs:
        if run.alone:
            continue
        with loaded(run.model, compared.weights, runtime, precision) as separator:
            assert (separator.runtime.name, separator.runtime.precision) == (runtime, precision)
            for song in run.chosen:
                if song not in songs:
                    continue
                expected = compared.reference.samples(run, song)
                found = separate(separator, stereo(compared.reference.heard(song)), extension(run))
                faults += [
                    f"{run.name} {song.name} {stem}: {fault}"
                    for stem in separator.spec.stems
                    if (fault := below(limit, found[stem], expected[stem]))
                ]
    return faults


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_samples_are_spleeters(compared: Compared, runtime: str) -> None:
    assert not samples_below(90, compared, runtime, "f32")


BFLOAT16_DECIBELS = {"spleeter:2stems": 35, "spleeter:4stems": 35, "spleeter:5stems": 20}
"""Numbers of 8 bits in a network of 13 layers. The softmax over 5 stems takes differences of large random
numbers, and its quiet stems suffer; what it costs in real stems, `bench.precision` measures."""


def test_bfloat16_is_close_to_spleeter(compared: Compared) -> None:
    songs = [song for song in SONGS if song.gain <= 1]
    try:
        faults = samples_below(BFLOAT16_DECIBELS[compared.archive], compared, "openvino", "bf16", songs)
    except RuntimeUnavailable as error:
        pytest.skip(f"needs a processor with bfloat16: {error}")
    assert not faults


def test_files_are_spleeters(compared: Compared, tmp_path: Path) -> None:
    """Ours from a WAV of what Spleeter's loader heard: the loader's resampling to 44.1 kHz is not compared.

    Spleeter makes two channels of a mono song and separates each; ours then has their mean.
    """
    faults = []
    for run in compared.runs:
        with loaded(run.model, compared.weights) as separator:
            for song in run.chosen:
                heard = compared.reference.heard(song)
                soundfile.write(tmp_path / "song.wav", heard, RATE, "FLOAT")
                seconds = len(heard) / RATE
                # Known here: no process needs to find it out.
                info = AudioInfo("wav", "pcm_f32le", RATE, song.channels, seconds, seconds)
                sink = DirectorySink(tmp_path / run.name / song.name)
                receipt = separate_file(
                    tmp_path / "song.wav",
                    separator,
                    sink,
                    limits=DecodeLimits(),
                    info=info,
                    high_frequencies=extension(run),
                )
                for stem in separator.spec.stems:
                    expected = read(compared.reference.file(run, song, stem))
                    if song.channels == 1:
                        expected = expected.mean(axis=1, keepdims=True)
                    if fault := below(60, read(sink.path(stem)), expected):
                        faults.append(f"{run.name} {song.name} {stem}: {fault}")
                    if song.gain > 1:
                        assert receipt.stems[stem].clipped_samples == np.count_nonzero(np.abs(expected) >= 1 - 2**-15)
    assert not faults


def read(path: Path) -> Samples:
    samples: Samples
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == RATE
    assert soundfile.info(path).subtype == "PCM_16"
    return samples

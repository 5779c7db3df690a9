"""A song whose decoder gives long blocks: they pass through the resamplers in parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
import soxr

from engine.audio import Samples
from engine.audio_io import DecodeLimits, decode
from engine.catalog import Catalog, ModelSpec
from engine.errors import SeparationCancelled
from engine.models.base import Blocks, HighFrequencies
from engine.runtimes.base import RuntimeInfo
from engine.separate import RESAMPLED_SECONDS, separate
from engine.sink import DirectorySink
from tests.engine.audio_files import decode_here, encode

LIMITS = DecodeLimits(seconds=60)
RATE = 4000
SECONDS = 40


class Halving:
    """Half the song for each stem, and a note of how long the blocks were that it came in."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.runtime = RuntimeInfo("none", "0", "none", "f32", 1)
        self.weights_sha256 = ""
        self.lengths: list[int] = []

    def stream(self, song: Blocks, *, high_frequencies: HighFrequencies = "mixture") -> Iterator[Mapping[str, Samples]]:
        for block in song():
            self.lengths.append(len(block))
            yield dict.fromkeys(self.spec.stems, block * np.float32(0.5))

    def close(self) -> None:
        pass


@pytest.fixture
def halving(catalog: Catalog) -> Halving:
    return Halving(catalog["lite"])


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """FLAC in blocks of 65,535 samples: 16 seconds at this rate."""
    noise = np.random.default_rng(3).uniform(-0.3, 0.3, (SECONDS * RATE, 1)).astype(np.float32)
    return encode(tmp_path / "song.flac", noise, RATE, "flac", "mono", frame_size="65535", strict="experimental")


def test_long_blocks_are_resampled_in_parts(halving: Halving, song: Path, tmp_path: Path) -> None:
    with decode(song, LIMITS) as decoding:
        assert max(len(block) for block in decoding.blocks()) > 5 * RESAMPLED_SECONDS * RATE
    sink = DirectorySink(tmp_path / "stems", "float")
    receipt = separate(song, halving, sink, limits=LIMITS)
    assert receipt.frames_in == receipt.frames_out == SECONDS * RATE
    # The filter holds samples back at first and hands them out later: a little more than what went in.
    assert max(halving.lengths) < 1.1 * RESAMPLED_SECONDS * 44100
    samples = decode_here(song)[0][:, 0] / np.float32(2**15)
    expected = soxr.resample(soxr.resample(samples, RATE, 44100, "VHQ"), 44100, RATE, "VHQ") / 2
    vocals, _ = soundfile.read(sink.path("vocals"), dtype="float32")
    middle = slice(RATE, (SECONDS - 1) * RATE)
    np.testing.assert_allclose(vocals[middle], expected[middle], atol=1e-4)


def test_cancelling_within_a_long_block(halving: Halving, song: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stems"
    with pytest.raises(SeparationCancelled):
        separate(song, halving, DirectorySink(folder), limits=LIMITS, cancelled=lambda: len(halving.lengths) >= 2)
    assert sum(halving.lengths) < 3 * RESAMPLED_SECONDS * 44100
    assert not list(folder.iterdir())
    assert not psutil.Process().children(recursive=True)

"""A song whose decoder gives long blocks: they pass through the resamplers in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from engine.audio_io import DecodeLimits, decode
from engine.catalog import Catalog
from engine.dsp.resample import SEGMENT_SECONDS, SegmentGrid
from engine.errors import SeparationCancelled
from engine.formats import WAV_FLOAT
from engine.separate import separate
from engine.sink import DirectorySink
from tests.engine import decoders
from tests.engine.audio_files import decode_here, encode
from tests.engine.passing import Passing

LIMITS = DecodeLimits(seconds=60)
RATE = 4000
SECONDS = 40


@pytest.fixture
def halving(catalog: Catalog) -> Passing:
    return Passing(catalog["lite"], {"vocals": 0.5, "accompaniment": 0.5})


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """FLAC in blocks of 65,535 samples: 16 seconds at this rate."""
    noise = np.random.default_rng(3).uniform(-0.3, 0.3, (SECONDS * RATE, 1)).astype(np.float32)
    return encode(tmp_path / "song.flac", noise, RATE, "flac", "mono", frame_size="65535", strict="experimental")


def test_long_blocks_are_resampled_in_parts(halving: Passing, song: Path, tmp_path: Path) -> None:
    with decode(song, LIMITS) as decoding:
        assert max(len(block) for block in decoding.blocks()) > 5 * SEGMENT_SECONDS * RATE
    sink = DirectorySink(tmp_path / "stems", WAV_FLOAT)
    receipt = separate(song, halving, sink, limits=LIMITS)
    assert receipt.frames_in == receipt.frames_out == SECONDS * RATE
    assert max(halving.lengths) < 1.1 * SEGMENT_SECONDS * 44100
    samples = decode_here(song)[0][:, 0] / np.float32(2**15)
    expected = soxr.resample(soxr.resample(samples, RATE, 44100, "VHQ"), 44100, RATE, "VHQ") / 2
    vocals, _ = soundfile.read(sink.path("vocals"), dtype="float32")
    middle = slice(RATE, (SECONDS - 1) * RATE)
    np.testing.assert_allclose(vocals[middle], expected[middle], atol=1e-4)


def test_cancelling_within_a_long_block(halving: Passing, song: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stems"
    with pytest.raises(SeparationCancelled):
        separate(song, halving, DirectorySink(folder), limits=LIMITS, cancelled=lambda: len(halving.lengths) >= 2)
    assert sum(halving.lengths) < 3 * SEGMENT_SECONDS * 44100
    assert not folder.exists()
    assert not decoders.children()


@pytest.mark.parametrize(
    ("rate", "new_rate"), [(48_000, 44_100), (44_100, 8_000), (4_000, 44_100), (192_000, 44_100), (44_056, 44_100)]
)
def test_segments_are_what_one_resampling_of_the_whole_gives(rate: int, new_rate: int) -> None:
    song = np.random.default_rng(1).normal(0, 0.1, (int(7.3 * rate) + 17, 2)).astype(np.float32)
    grid = SegmentGrid(rate, new_rate)
    found = np.concatenate(list(grid.resampled(song[at : at + 7777] for at in range(0, len(song), 7777))))
    assert len(found) == grid.new(len(song))
    whole = soxr.resample(song, rate, new_rate, "VHQ")
    length = min(len(whole), len(found))
    # For rates without a short common measure soxr interpolates its filter.
    assert np.max(np.abs(found[:length] - whole[:length])) < 1e-4 * np.max(np.abs(whole))


@pytest.mark.parametrize(("rate", "new_rate"), [(48_000, 44_100), (44_100, 48_000), (8_000, 44_100)])
@pytest.mark.parametrize("start", [1, 44_099, 88_200, 200_001])
def test_a_stream_that_is_entered_later_gives_the_same_bits(rate: int, new_rate: int, start: int) -> None:
    song = np.random.default_rng(2).normal(0, 0.1, (8 * rate, 2)).astype(np.float32)
    grid = SegmentGrid(rate, new_rate)
    start = min(start, grid.new(len(song)) - 10)
    entry = grid.entry(start)
    whole = np.concatenate(list(grid.resampled([song])))
    later = np.concatenate(list(grid.resampled((song[at : at + 5555] for at in range(entry, len(song), 5555)), start)))
    np.testing.assert_array_equal(later, whole[start:])

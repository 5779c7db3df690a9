"""The compliance signals of EBU Tech 3341 (version 4, table 1), made here; each within 0.1 LU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from engine.audio import Samples
from engine.loudness import KWeighting, Loudness


def tone(seconds: float, dbfs: float, rate: int, hz: float = 1000) -> Samples:
    """A stereo sine of that peak level, (frames, 2)."""
    wave = 10 ** (dbfs / 20) * np.sin(2 * np.pi * hz / rate * np.arange(round(seconds * rate)))
    return np.repeat(wave.astype(np.float32)[:, np.newaxis], 2, axis=1)


def measured(song: Samples, rate: int, block: int = 10_007) -> float | None:
    weighting, loudness = KWeighting(rate, song.shape[1]), Loudness(rate)
    for start in range(0, len(song), block):
        loudness.hear(weighting.filter(song[start : start + block]))
    return loudness.lufs


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(20, -23)], -23),
        ([(20, -33)], -33),
        ([(10, -36), (60, -23), (10, -36)], -23),
        ([(10, -72), (10, -36), (60, -23), (10, -36), (10, -72)], -23),
        ([(20, -26), (20.1, -20), (20, -26)], -23),
    ],
)
def test_the_compliance_signals(parts: Sequence[tuple[float, float]], expected: float, rate: int) -> None:
    found = measured(np.concatenate([tone(seconds, level, rate) for seconds, level in parts]), rate)
    assert found == pytest.approx(expected, abs=0.1)


def test_one_channel_counts_once() -> None:
    stereo = tone(5, -20, 48_000)
    assert measured(stereo, 48_000) == pytest.approx(-20.0, abs=0.1)
    assert measured(stereo[:, :1], 48_000) == pytest.approx(-23.0, abs=0.1)


def test_treble_counts_more_and_the_deepest_bass_less() -> None:
    middle, treble, bass = (measured(tone(5, -20, 48_000, hz), 48_000) for hz in (1000, 8000, 25))
    assert middle is not None
    assert treble == pytest.approx(middle + 3.3, abs=0.3)
    assert bass is not None
    assert bass < middle - 10


def test_silence_and_what_is_too_short_have_no_loudness() -> None:
    assert measured(np.zeros((48_000, 2), np.float32), 48_000) is None
    assert measured(tone(0.39, -20, 48_000), 48_000) is None
    assert measured(tone(5, -80, 48_000), 48_000) is None


def test_block_sizes_do_not_matter() -> None:
    song = np.random.default_rng(0).normal(0, 0.1, (3 * 44_100, 2)).astype(np.float32)
    assert measured(song, 44_100, 777) == measured(song, 44_100, 100_000)

"""The filter by matrix products against scipy's, sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from engine.dsp.recursive import RUN, FilterMatrices, RecursiveFilter
from engine.loudness import k_weighting

SECTIONS = {
    "K-weighting": k_weighting(44_100),
    "K-weighting at 8 kHz": k_weighting(8000),
    "low-pass of order 8": butter(8, 0.1, output="sos"),
}


@pytest.mark.parametrize("name", SECTIONS)
def test_blocks_of_any_size_give_what_one_sample_after_the_other_gives(name: str) -> None:
    random = np.random.default_rng(1)
    sizes = [1, RUN - 1, RUN, RUN + 1, 0, 5, 4096, 1 << 15, 100_003, 1 << 15, 7]
    waves = (0.2 * random.standard_normal((2, sum(sizes))) + 0.4).astype(
        np.float32
    )  # with an offset to be filtered out
    filter = RecursiveFilter(FilterMatrices(SECTIONS[name]), 2)
    ends = np.cumsum(sizes)
    found = np.concatenate(
        [filter.filter(waves[:, end - size : end]) for size, end in zip(sizes, ends, strict=True)], 1
    )
    expected = sosfilt(SECTIONS[name], waves.astype(np.float64))
    error = 10 * np.log10(np.mean((found - expected) ** 2) / np.mean(expected**2))
    assert found.shape == waves.shape
    assert error < -80


def test_channels_do_not_hear_each_other() -> None:
    waves = np.zeros((2, 1000), np.float32)
    waves[0, 0] = 1
    found = RecursiveFilter(FilterMatrices(k_weighting(44_100)), 2).filter(waves)
    assert found[0].any()
    assert not found[1].any()

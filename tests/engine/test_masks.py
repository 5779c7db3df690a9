from __future__ import annotations

import numpy as np
import pytest

from engine.dsp.masks import apply_mask, ratio_masks


def test_masks_follow_the_squares_and_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    estimates = [rng.uniform(0, 5, (2, 3, 7)).astype(np.float32) for _ in range(4)]
    masks = ratio_masks(estimates)
    np.testing.assert_allclose(sum(masks), np.ones((2, 3, 7)), rtol=1e-6)
    np.testing.assert_allclose(masks[1] / masks[2], (estimates[1] / estimates[2]) ** 2, rtol=1e-4)


@pytest.mark.parametrize("stems", [2, 4, 5])
def test_silence_is_shared_equally(stems: int) -> None:
    masks = ratio_masks([np.zeros((2, 1, 3), np.float32)] * stems)
    for mask in masks:
        np.testing.assert_allclose(mask, 1 / stems, rtol=1e-6)


def test_estimates_are_left_as_they_are() -> None:
    estimates = [np.full((1, 1, 2), value, np.float32) for value in (1.0, 3.0)]
    masks = ratio_masks(estimates)
    assert [estimate[0, 0, 0] for estimate in estimates] == [1.0, 3.0]
    assert masks[0][0, 0, 0] == pytest.approx(0.1)


def test_bins_beyond_the_mask_get_nothing_or_its_mean() -> None:
    spectrum = np.full((1, 2, 5), 2 + 2j, np.complex64)
    mask = np.array([[[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]]], np.float32)
    zeros = apply_mask(spectrum, mask, extend=False)
    average = apply_mask(spectrum, mask, extend=True)
    np.testing.assert_array_equal(zeros[0, 0], np.array([0, 1 + 1j, 2 + 2j, 0, 0], np.complex64))
    np.testing.assert_array_equal(average[0, 0], np.array([0, 1 + 1j, 2 + 2j, 1 + 1j, 1 + 1j], np.complex64))
    np.testing.assert_array_equal(average[0, 1], spectrum[0, 1])

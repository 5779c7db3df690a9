from __future__ import annotations

import numpy as np

from engine.dsp.masks import apply_mask, last_mask


def test_the_last_mask_is_what_the_others_leave() -> None:
    others = [np.full((2, 3, 7), share, np.float32) for share in (0.5, 0.125, 0.25)]
    np.testing.assert_array_equal(last_mask(others), np.full((2, 3, 7), 0.125, np.float32))
    assert [mask[0, 0, 0] for mask in others] == [0.5, 0.125, 0.25]


def test_bins_beyond_the_mask_get_nothing_or_its_mean() -> None:
    spectrum = np.full((1, 2, 5), 2 + 2j, np.complex64)
    mask = np.array([[[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]]], np.float32)
    zeros = apply_mask(spectrum, mask, extend=False)
    average = apply_mask(spectrum, mask, extend=True)
    np.testing.assert_array_equal(zeros[0, 0], np.array([0, 1 + 1j, 2 + 2j, 0, 0], np.complex64))
    np.testing.assert_array_equal(average[0, 0], np.array([0, 1 + 1j, 2 + 2j, 1 + 1j, 1 + 1j], np.complex64))
    np.testing.assert_array_equal(average[0, 1], spectrum[0, 1])

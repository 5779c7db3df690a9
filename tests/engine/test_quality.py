from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.quality import mean_scores, score_clips, sdr, si_sdr
from engine.models.base import Separator


def test_measures_by_hand() -> None:
    """A tenth of the amplitude as error that fits nothing of the signal: 20 dB; scale matters to SDR alone."""
    signal = np.array([[1.0, 1.0], [1.0, 1.0]], np.float32)
    error = np.array([[0.1, -0.1], [0.1, -0.1]], np.float32)
    assert sdr(signal, signal + error) == pytest.approx(20, abs=1e-4)
    assert si_sdr(signal, (signal + error) * 3) == pytest.approx(20, abs=1e-4)
    assert sdr(signal, signal * 2) == pytest.approx(0, abs=1e-4)


def test_lite_beats_doing_nothing_and_mid_side(shared: Path, lite: Separator) -> None:
    scores = list(score_clips(shared / "data" / "stems_eval", lite))
    clips = {score.clip for score in scores}
    assert len(clips) == 2
    by_key = {(s.clip, s.method, s.stem): s.si_sdr for s in [*scores, *mean_scores(scores)]}
    for clip in [*clips, "mean"]:
        for stem in ("vocals", "accompaniment"):
            ours = by_key[clip, "lite", stem]
            assert ours > by_key[clip, "mixture", stem]
            assert ours > by_key[clip, "mid/side", stem]

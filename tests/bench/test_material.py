"""The songs and weights that everybody is measured with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import bench.song as songs
from bench.quality import oracle_mask, sdr
from bench.weights import STEMS, sherpa_graph
from engine.spleeter_graph import INPUT, build_graph
from tests.engine.audio_files import decode_here
from tests.engine.checkpoints import random_tensors


def test_a_song_repeats_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(songs, "LOOP_FRAMES", 96)  # 2.5 s
    path = songs.write_song(tmp_path / "song.mp3", 6.0)
    wave, rate = decode_here(path)
    assert rate == songs.RATE
    assert len(wave) == pytest.approx(6 * rate, abs=2 * songs.FRAME)
    assert 0.05 < np.sqrt(np.mean(wave**2)) < 0.5
    assert np.abs(wave).max() <= 1.0
    loop = 96 * songs.FRAME
    # The first frame of a loop overlaps with what was before it; the decoder needs a few to forget that.
    np.testing.assert_allclose(wave[loop + 4 * 1152 : 2 * loop], wave[4 * 1152 : loop], atol=1e-4)


def test_sherpa_gets_the_weights_that_we_have() -> None:
    """Its two graphs give magnitudes o; Spleeter's mask of them, o² / Σ o², is what our graph gives. Not bit for
    bit where all of o are tiny: theirs has the runtime's own sigmoid, right to an absolute 1e-7 only."""
    tensors = random_tensors(2)
    magnitude = np.random.default_rng(1).exponential(3, (1, 2, 512, 1024)).astype(np.float32)
    ours = _run(build_graph(tensors, STEMS, 1024).SerializeToString(), {INPUT: magnitude})
    theirs = [
        _run(sherpa_graph(tensors, stem).SerializeToString(), {"x": magnitude.transpose(1, 0, 2, 3)})[0].transpose(
            1, 0, 2, 3
        )
        for stem in range(2)
    ]
    total = theirs[0] ** 2 + theirs[1] ** 2 + 1e-10
    (vocals,) = ours  # the last mask is what it leaves of 1
    for mask, estimate in zip((vocals, 1 - vocals), theirs, strict=True):
        assert sdr(mask, (estimate**2 + 5e-11) / total) > 50
    assert np.std(ours[0]) > 0.01


def test_oracle_masks_share_the_song_out() -> None:
    rng = np.random.default_rng(3)
    time = np.arange(30_000) / 44_100
    vocals = (0.3 * np.stack([np.sin(2 * np.pi * 440 * time)] * 2, 1)).astype(np.float32)
    accompaniment = rng.normal(0, 0.05, vocals.shape).astype(np.float32)
    mixture = vocals + accompaniment
    stems = oracle_mask({"vocals": vocals, "accompaniment": accompaniment}, mixture)
    np.testing.assert_allclose(stems["vocals"] + stems["accompaniment"], mixture, atol=1e-5)
    assert sdr(vocals, stems["vocals"]) > sdr(vocals, mixture) + 10


def _run(graph: bytes, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, inputs)
    return outputs

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.small_pools import small_pools
from training.feed import Feed
from training.mixing import (
    BINS,
    HERTZ,
    HOP,
    Batch,
    Mixer,
    Mixing,
    equaliser,
    mono,
    pauses,
    placed,
    resampled,
    shelf,
    spread,
)
from training.pools import FULL_SCALE, Pool
from training.synthesis.sound import LENGTH, RATE

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 64
PLAIN = Mixing(
    shifted=0, second_band=0, second_voice=0, mono_song=0, mono_voice=0, no_voice=0, no_band=0, voice_pauses=0,
    band_pauses=0, voice_db=(0, 0, 0, 0), real_voice=0, real_band=0, mono_real=0, mono_band=0, wider=0, spread_band=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pool]:
    return small_pools(tmp_path_factory.mktemp("pools"))


def same(one: Batch, other: Batch) -> bool:
    names = ("voice", "band", "voice_gains", "band_gains", "level")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_a_batch_is_known_by_its_step(pools: dict[str, Pool]) -> None:
    mixer = Mixer(pools, FRAMES)
    batch = mixer.batch(1, 5, 3)
    assert batch.voice.shape == batch.band.shape == (3, 2, (FRAMES - 1) * HOP)
    assert batch.voice_gains.shape == batch.band_gains.shape == (3, BINS)
    assert batch.voice.dtype == batch.voice_gains.dtype == batch.level.dtype == np.float32
    assert same(batch, Mixer(pools, FRAMES).batch(1, 5, 3))
    assert not same(batch, mixer.batch(1, 6, 3))
    assert not same(batch, mixer.batch(2, 5, 3))
    assert not same(batch, mixer.batch(1, 5, 3, held_out=True))


def test_processes_give_the_same_batches_in_order(tmp_path: Path) -> None:
    small_pools(tmp_path, 2)
    feed = Feed(tmp_path, FRAMES, 2, seed=3, workers=0)
    here, there = feed.batches(4), replace(feed, workers=1).batches(4)
    for _ in range(3):
        assert same(next(here), next(there))
    there.close()


def test_what_is_held_out_is_never_learnt(pools: dict[str, Pool]) -> None:
    mixer, random = Mixer(pools, FRAMES, hold_out=40), np.random.default_rng(0)
    assert {mixer._number(random, pools["song"], held_out=False) for _ in range(50)} == {1, 2}
    assert {mixer._number(random, pools["song"], held_out=True) for _ in range(50)} == {0}


def test_plain_mixing_only_cuts(pools: dict[str, Pool]) -> None:
    example = Mixer(pools, FRAMES, PLAIN).example(np.random.default_rng(1))
    clip = pools["song"].samples / np.float32(FULL_SCALE + 1)
    first = np.abs(example.band[0, 0])
    assert np.isclose(np.abs(clip), first, atol=1e-7).any()


def test_silence_comes_as_often_as_said(pools: dict[str, Pool]) -> None:
    mixer = Mixer(pools, FRAMES, replace(PLAIN, no_voice=1.0))
    assert not mixer.example(np.random.default_rng(0)).voice.any()
    band = Mixer(pools, FRAMES, replace(PLAIN, no_voice=0.0, no_band=1.0)).example(np.random.default_rng(0)).band
    assert float(np.sqrt(np.mean(band**2))) < 2e-4


def test_a_side_needs_a_pool(pools: dict[str, Pool]) -> None:
    with pytest.raises(ValueError, match="voice"):
        Mixer({"song": pools["song"]}, FRAMES)


@pytest.mark.parametrize("speed", [2 ** (-3 / 12), 2 ** (3 / 12)])
def test_faster_is_higher(speed: float) -> None:
    samples, hertz = 8192, 1000.0
    tone = np.sin(2 * np.pi * hertz * np.arange(int(samples * speed) + 4) / RATE).astype(np.float32)
    heard = resampled(np.stack([tone, tone]), speed, samples)
    assert heard.shape == (2, samples)
    wanted = np.sin(2 * np.pi * hertz * (1 + np.arange(samples) * speed) / RATE)
    assert np.abs(heard[0] - wanted).max() < 2e-3


def test_pauses_are_silent_and_their_borders_soft() -> None:
    for seed in range(20):
        curve = pauses(np.random.default_rng(seed), 2 * RATE)
        assert curve.shape == (2 * RATE,)
        assert curve.min() < 1e-6
        assert curve.max() <= 1 + 1e-6
        assert np.abs(np.diff(curve)).max() < 0.01


def test_placing_keeps_what_there_is() -> None:
    sound = np.random.default_rng(0).normal(0, 1, (2, 1000)).astype(np.float32)
    for seed in range(30):
        moved = placed(np.random.default_rng(seed), sound, mono_share=0, wider_share=0.5)
        assert moved.shape == sound.shape
        np.testing.assert_allclose(np.abs(moved.sum(0)), np.abs(sound.sum(0)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(mono(sound)[0], mono(sound)[1])


def test_spreading_gives_sides_and_leaves_the_middle() -> None:
    sound = mono(np.random.default_rng(0).normal(0, 1, (2, 4000)).astype(np.float32))
    for seed in range(10):
        wide = spread(np.random.default_rng(seed), sound)
        np.testing.assert_allclose(wide.sum(0), sound.sum(0), rtol=1e-4, atol=1e-5)
        across = float(np.mean((wide[0] - wide[1]) ** 2) / np.mean((wide[0] + wide[1]) ** 2))
        assert 0.02 < across < 1.1


def test_shelves_and_equalisers() -> None:
    low = shelf(500, 6)
    assert low[0] == pytest.approx(10 ** (6 / 20))
    assert low[HERTZ > 3000] == pytest.approx(1, abs=0.01)
    curve = 20 * np.log10(equaliser(np.random.default_rng(2), 3))
    assert curve.shape == (BINS,)
    assert curve.max() <= 12.001


def real_pool() -> Pool:
    """Song a: constant stems 1, 2 (voice) and 3, 4 (band); in its second window, no voice. Song b: a voice of -1."""
    stems = [("a", 0, "lead", 1), ("a", 0, "backing", 2), ("a", 0, "band", 3), ("a", 0, "band", 4), ("a", 1, "band", 5)]
    stems.append(("b", 0, "lead", -1))
    clips: list[dict[str, Any]] = [
        {"number": window, "song": song, "window": window, "stem": str(value), "role": role}
        for song, window, role, value in stems
    ]
    values = np.array([value for *_, value in stems], np.int16)[:, None, None] * 1000
    samples = np.broadcast_to(values, (len(stems), 2, LENGTH)).astype(np.int16)
    return Pool("real", "both", "", tuple(clips), samples)


def test_real_stems_of_one_moment_are_combined(pools: dict[str, Pool]) -> None:
    mixer = Mixer({**pools, "real": real_pool()}, FRAMES, replace(PLAIN, real_voice=1.0, real_band=1.0))
    for seed in range(10):
        random = np.random.default_rng(seed)
        voice = mixer._real_side(random, "voice", 1.0, held_out=False)
        assert float(np.sqrt(np.mean(voice**2))) == pytest.approx(0.08, rel=0.01)
    held_out = mixer.example(np.random.default_rng(0), held_out=True)
    assert np.ptp(held_out.band) > 0.1, "no song is left out: validation is of synthetic songs only"


def test_a_song_that_is_left_out_is_heard_in_validation_alone(pools: dict[str, Pool]) -> None:
    with pytest.raises(ValueError, match=r"no song c .*'a', 'b'"):
        Mixer({**pools, "real": real_pool()}, FRAMES, replace(PLAIN, left_out="c"))
    plain = replace(PLAIN, real_voice=1.0, left_out="b")
    mixer = Mixer({**pools, "real": real_pool()}, FRAMES, plain)
    voices = [mixer._real_side(np.random.default_rng(seed), "voice", 1.0, held_out=False) for seed in range(20)]
    assert all(voice.min() > 0 for voice in voices)
    assert mixer._real_side(np.random.default_rng(0), "voice", 1.0, held_out=True).max() < 0
    held_out = [mixer.example(np.random.default_rng(seed), held_out=True) for seed in range(20)]
    constant = [np.ptp(example.voice) < 1e-6 for example in held_out]
    assert any(constant) and not all(constant), "half of the voices are of the song"
    # As they were mixed: one level, whatever the draw.
    whole = Mixer({**pools, "real": real_pool()}, FRAMES, replace(plain, real_whole=1.0))
    bands = [whole._real_side(np.random.default_rng(seed), "band", 1.0, held_out=False) for seed in range(5)]
    assert all(float(np.sqrt(np.mean(band**2))) == pytest.approx(0.08, rel=0.01) for band in bands)


def test_workers_end_with_whom_they_work_for(tmp_path: Path) -> None:
    small_pools(tmp_path, 2)
    code = (
        "import multiprocessing, sys; from pathlib import Path; from training.feed import Feed\n"
        "if __name__ == '__main__':\n"
        f"    batches = Feed(Path(sys.argv[1]), {FRAMES}, 1, 0, workers=1).batches(0); next(batches)\n"
        "    print(multiprocessing.active_children()[0].pid, flush=True); sys.stdin.read()\n"
    )
    script = tmp_path / "feeding.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None and parent.stdin is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    until = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        state = Path(f"/proc/{worker}/stat")
        with contextlib.suppress(OSError):
            if state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()

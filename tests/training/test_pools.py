from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.small_pools import BAND, VOICE, small_pools
from training.pools import ClipFailed, PoolMissing, PoolStale, fill, make_clip, open_pool, open_pools, quantised
from training.synthesis.programs import ProgramFailed
from training.synthesis.sound import LENGTH, Random, Stereo

ROOT = Path(__file__).resolve().parents[2]


def test_a_clip_depends_on_its_number_and_the_seed_alone() -> None:
    first = make_clip(BAND, 4, seed=1)
    np.testing.assert_array_equal(first, make_clip(BAND, 4, seed=1))
    for other in (
        make_clip(BAND, 5, seed=1),
        make_clip(BAND, 4, seed=2),
        make_clip(replace(BAND, number=9), 4, seed=1),
    ):
        assert (first != other).any()


def test_a_pool_is_what_its_clips_are(tmp_path: Path) -> None:
    pool, _ = fill(tmp_path, BAND, 3, seed=7)
    assert pool.samples.shape == (3, 2, LENGTH)
    assert pool.samples.dtype == np.int16
    assert [clip["number"] for clip in pool.clips] == [0, 1, 2]
    for number in range(3):
        np.testing.assert_array_equal(pool.samples[number], make_clip(BAND, number, seed=7))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["song.json", "song.npy"]


def test_full_scale_does_not_wrap_around() -> None:
    loud = np.array([[2.0, -2.0, 1.0, -1.0]])
    assert quantised(loud).tolist() == [[32763, -32763, 32763, -32763]]


def test_a_stopped_pool_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, _ = fill(tmp_path / "whole", BAND, 4)
    made: list[int] = []

    def stopping(random: Random, folder: Path) -> Stereo:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(1)
        return BAND.make(random, folder)

    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "stopped", replace(BAND, make=stopping), 4)
    with pytest.raises(PoolMissing):
        open_pool(tmp_path / "stopped", "song")

    def counting(random: Random, folder: Path) -> Stereo:
        made.append(1)
        return BAND.make(random, folder)

    resumed, _ = fill(tmp_path / "stopped", replace(BAND, make=counting), 4)
    assert len(made) == 4
    np.testing.assert_array_equal(resumed.samples, whole.samples)


def test_a_killed_process_leaves_nothing_broken(tmp_path: Path) -> None:
    code = (
        "import sys, time; from dataclasses import replace; from pathlib import Path\n"
        "from tests.training.small_pools import BAND; from training.pools import fill\n"
        "def slow(random, folder): time.sleep(0.05); return BAND.make(random, folder)\n"
        "fill(Path(sys.argv[1]), replace(BAND, make=slow), 500)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    parts = tmp_path / "song.parts"
    until = time.monotonic() + 60
    while len(list(parts.glob("*.npy"))) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    left = len(list(parts.glob("*.npy")))
    assert left >= 3
    resumed, _ = fill(tmp_path, BAND, left + 1)
    for number in range(left + 1):
        np.testing.assert_array_equal(resumed.samples[number], make_clip(BAND, number, seed=0))
    assert not parts.exists()


def test_a_pool_grows_by_what_is_missing_only(tmp_path: Path) -> None:
    fill(tmp_path, BAND, 2)

    def never(random: Random, folder: Path) -> Stereo:
        raise AssertionError("made again")

    again, seconds = fill(tmp_path, replace(BAND, make=never), 2)
    assert (len(again), seconds) == (2, 0)
    grown, _ = fill(tmp_path, BAND, 4)
    for number in range(4):
        np.testing.assert_array_equal(grown.samples[number], make_clip(BAND, number, seed=0))
    assert len(fill(tmp_path, BAND, 1)[0]) == 4


def test_clips_of_another_recipe_are_not_mixed_in(tmp_path: Path) -> None:
    fill(tmp_path, BAND, 2, seed=1)
    with pytest.raises(PoolStale, match="--fresh"):
        fill(tmp_path, BAND, 3, seed=2)
    pool, _ = fill(tmp_path, BAND, 1, seed=2, fresh=True)
    np.testing.assert_array_equal(pool.samples[0], make_clip(BAND, 0, seed=2))


def test_the_hash_follows_the_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from training import recipes

    recipes.recipe_hash.cache_clear()
    here = recipes.recipe_hash("song", 0)
    assert here != recipes.recipe_hash("song", 1)
    (tmp_path / "synthesis").mkdir()
    (tmp_path / "synthesis" / "sound.py").write_text("RATE = 1\n")
    recipes.recipe_hash.cache_clear()
    monkeypatch.setattr(recipes, "__file__", str(tmp_path / "recipes.py"))
    assert recipes.recipe_hash("song", 0) != here
    recipes.recipe_hash.cache_clear()


def test_an_index_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    small_pools(tmp_path, 2)
    assert set(open_pools(tmp_path)) == {"vocals", "song"}
    index = tmp_path / "song.json"
    said = json.loads(index.read_text())
    index.write_text(json.dumps({**said, "clips": said["clips"][:1]}))
    with pytest.raises(PoolStale):
        open_pool(tmp_path, "song")
    with pytest.raises(PoolMissing, match="training pools"):
        open_pool(tmp_path, "leads")


def test_several_processes_make_the_same_pool(tmp_path: Path) -> None:
    one, _ = fill(tmp_path / "one", VOICE, 2, workers=1)
    other, _ = fill(tmp_path / "other", VOICE, 2, workers=2)
    np.testing.assert_array_equal(one.samples, other.samples)


def test_a_failing_clip_is_tried_again_from_another_seed(tmp_path: Path) -> None:
    tried: list[float] = []

    def failing(random: Random, folder: Path) -> Stereo:
        tried.append(random.random())
        if len(tried) < 3:
            raise ProgramFailed("said nothing")
        return BAND.make(random, folder)

    clip = make_clip(replace(BAND, make=failing), 0, 0)
    assert len(set(tried)) == 3
    assert clip.any()

    def broken(random: Random, folder: Path) -> Stereo:
        return np.full((2, LENGTH), np.nan)

    with pytest.raises(ClipFailed, match="not finite"):
        make_clip(replace(BAND, make=broken), 0, 0)

"""A long song by worker processes that help each other, are killed, stopped, cancelled: the bits of one pass."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update

from backend.clock import database_now
from backend.models import Part
from bench.song import write_song
from engine.audio_io import DecodeLimits
from engine.catalog import Catalog
from engine.formats import OutputFormat
from engine.registry import load_separator
from engine.separate import separate
from engine.sink import DirectorySink
from tests.floor import Floor, opened
from tests.processes import wait_until
from tests.service import Person

pytestmark = pytest.mark.timeout(600)
SECONDS = 280.0
PATCHES = 14
"""Of `lite`, 20.8 s each."""
STEMS = ("vocals", "accompaniment")
HASTE = {
    "VR_WORKER__SHARED_SECONDS": "60",
    "VR_WORKER__PART_SECONDS": "20",
    "VR_WORKER__LEASE_SECONDS": "60",
    "VR_WORKER__RENEW_SECONDS": "0.2",
    "VR_WORKER__SWEEP_SECONDS": "0.3",
    "VR_WORKER__GRACE_SECONDS": "0",
}


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_song(tmp_path_factory.mktemp("songs") / "long.mp3", SECONDS)


@pytest.fixture(scope="module")
def one_pass(song: Path, catalog: Catalog) -> dict[str, bytes]:
    """Its stems as one undisturbed run with one thread makes them."""
    separator = load_separator(catalog["lite"], catalog, threads=1)
    sink = DirectorySink(song.parent, OutputFormat("wav"))
    separate(song, separator, sink, limits=DecodeLimits())
    separator.close()
    return {stem: sink.path(stem).read_bytes() for stem in STEMS}


@pytest.fixture
def floor(sqlite_template: Path, tmp_path: Path) -> Iterator[Floor]:
    with opened(sqlite_template, tmp_path) as floor:
        yield floor


@pytest.fixture(scope="module")
def two(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    """Two workers, for the tests that leave both alive."""
    with opened(sqlite_template, tmp_path_factory.mktemp("two")) as floor:
        for name in ("w1", "w2"):
            floor.start(name, HASTE)
        yield floor


def check(person: Person, task_id: str, one_pass: dict[str, bytes]) -> dict[str, int]:
    """Its stems are those of one pass; what the receipt says of its parts."""
    view = person.task(task_id)
    for stem in view["stems"]:
        assert Path(stem["path"]).read_bytes() == one_pass[stem["name"]], stem["name"]
    assert {stem["name"] for stem in view["stems"]} == set(STEMS)
    told: dict[str, int] = view["receipt"]["parts"]
    assert told["patches"] == PATCHES
    return told


def leader_and_helper(floor: Floor, task_id: str) -> tuple[str, str]:
    wait_until(lambda: len(floor.makers(task_id)) == 2)
    leader = str(floor.service.row(task_id).worker).split("@")[0]
    return leader, "w2" if leader == "w1" else "w1"


def put_to_sleep(floor: Floor, pid: int) -> None:
    """Not within a transaction: SQLite has one writer, and nobody could write before it wakes."""
    file = floor.service.wiring.database.url.database
    assert file is not None
    while True:
        os.killpg(pid, signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(file, timeout=1, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                return
        except sqlite3.OperationalError:
            os.killpg(pid, signal.SIGCONT)
            time.sleep(0.1)


def expire(floor: Floor, task_id: str, worker: str) -> None:
    """What a silent worker holds of a song: its lease is so long that none ends because the machine was busy."""
    held = Part.task_id == UUID(task_id), Part.status == "processing", Part.worker.startswith(f"{worker}@")
    with floor.service.wiring.database.write() as session:
        session.execute(update(Part).where(*held).values(lease_until=database_now(-1)))


def timed(condition: Callable[[], bool]) -> float:
    began = time.monotonic()
    wait_until(condition)
    return time.monotonic() - began


def test_an_interrupted_song_goes_on_at_its_last_kept_patch(
    floor: Floor, song: Path, one_pass: dict[str, bytes]
) -> None:
    """Told to stop, then killed: twice interrupted."""
    person = floor.service.login()
    task_id = person.submit(person.upload(song), model="lite")
    floor.start("w1", HASTE | {"VR_WORKER__PART_SECONDS": "40"})
    wait_until(lambda: floor.kept(task_id) >= 2)
    floor.workers["w1"].send(signal.SIGTERM)
    floor.workers["w1"].wait()
    stopped = floor.kept(task_id)
    assert {part.status for part in floor.parts(task_id)} == {"queued", "completed"}
    assert (floor.service.row(task_id).status, floor.service.row(task_id).failures) == ("queued", 0)

    floor.start("w1", HASTE)
    wait_until(lambda: floor.kept(task_id) > stopped)
    floor.workers["w1"].kill()
    killed = floor.kept(task_id)
    before = {name: set(times) for name, times in floor.written.items()}
    assert killed < PATCHES

    floor.start("w1", HASTE)
    floor.finished(person, task_id)
    assert check(person, task_id, one_pass) == {
        "ranges": 7, "workers": 1, "patches": PATCHES, "resumed_patches": killed,
    }  # fmt: skip
    again = [name for name, times in before.items() if floor.written[name] != times]
    assert len(before) - len(again) >= killed, "what was counted is not made again"
    assert floor.service.row(task_id).failures == 1
    wait_until(lambda: floor.nothing_left(task_id))


def test_two_workers_make_one_song(two: Floor, song: Path, one_pass: dict[str, bytes]) -> None:
    person = two.service.login()
    task_id = person.submit(person.upload(song), model="lite")
    leader_and_helper(two, task_id)
    wait_until(lambda: person.task(task_id)["stage"] == "separating, 2 workers")
    two.finished(person, task_id)
    told = check(person, task_id, one_pass)
    assert (told["workers"], told["resumed_patches"]) == (2, 0)
    assert two.service.row(task_id).attempt == 1
    wait_until(lambda: two.nothing_left(task_id))


def test_who_helps_leaves_for_a_task_that_waits(two: Floor, song: Path, warmup: Path) -> None:
    """And cancelling ends the work of both at once."""
    person, stranger = two.service.register("long@example.com"), two.service.register("short@example.com")
    long = write_song(song.parent / "longer.mp3", 900)
    task_id = person.submit(person.upload(long), model="lite")
    leader, helper = leader_and_helper(two, task_id)
    short = stranger.submit(stranger.upload(warmup), model="lite")
    wait = timed(lambda: two.service.row(short).status != "queued")
    two.finished(stranger, short)
    assert str(two.service.row(short).worker).startswith(helper)
    assert two.service.row(task_id).status == "processing"
    assert wait < 20
    assert all(part.failures == 0 for part in two.parts(task_id))

    assert leader_and_helper(two, task_id) == (leader, helper), "it comes back"
    assert person.post(f"/tasks/{task_id}/cancel").status_code == 200
    assert timed(lambda: two.nothing_left(task_id)) < 20
    assert not list(two.service.settings.data_dir.glob(f"output/*/{task_id}"))
    assert person.money()[1] == 0


def test_a_helper_that_sleeps_past_its_lease_does_no_harm(two: Floor, song: Path, one_pass: dict[str, bytes]) -> None:
    person = two.service.register("sleeper@example.com")
    task_id = person.submit(person.upload(song), model="lite")
    leader, helper = leader_and_helper(two, task_id)
    sleeper = two.workers[helper]

    def seen() -> bool:
        """By its leader, which may have made everything else by now."""
        return two.makers(task_id) == {helper} or person.task(task_id)["stage"] == "separating, 2 workers"

    put_to_sleep(two, sleeper.pid)
    try:
        wait_until(seen)
        expire(two, task_id, helper)
        wait_until(lambda: helper not in two.makers(task_id))
        two.finished(person, task_id)
    finally:
        os.killpg(sleeper.pid, signal.SIGCONT)
    assert check(person, task_id, one_pass)["workers"] == 2
    wait_until(lambda: two.nothing_left(task_id))
    assert sleeper.running() and leader != helper


def test_a_dead_helper_s_range_alone_is_made_again(two: Floor, song: Path, one_pass: dict[str, bytes]) -> None:
    person = two.service.register("dead@example.com")
    task_id = person.submit(person.upload(song), model="lite")
    two.written.clear()
    _, helper = leader_and_helper(two, task_id)
    wait_until(lambda: any(part.patches_done for part in two.parts(task_id) if helper in str(part.worker)))
    two.workers[helper].kill()
    counted = {
        f"{part.first_patch + each:06d}.f32": two.written[f"{part.first_patch + each:06d}.f32"].copy()
        for part in two.parts(task_id)
        for each in range(part.patches_done)
    }
    expire(two, task_id, helper)
    two.finished(person, task_id)
    check(person, task_id, one_pass)
    assert counted and all(two.written[name] == times for name, times in counted.items())
    assert two.service.row(task_id).failures == 0

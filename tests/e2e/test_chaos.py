"""`make chaos`, the short run: everything is killed, stopped or filled under load, and nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import psycopg
import pytest

from backend.settings import ROOT
from bench.chaos import kills, report, servers
from bench.chaos.board import Board, BoardReader
from bench.chaos.files import Left, left, sweep
from bench.chaos.fleet import Fleet, Worker
from bench.chaos.load import Traffic
from bench.chaos.run import Outcome, Plan
from bench.chaos.schedule import KINDS, Kill, draw
from tests.servers import missing
from tests.service import InProcess
from tests.walking import walk

MINUTES = "0.6"
SEED = 20_260_801


@pytest.mark.timeout(1800)
def test_nothing_is_lost_while_everything_is_broken(tmp_path: Path) -> None:
    if what := servers.missing():
        missing(what)
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench.chaos", "--seed", str(SEED), "--minutes", MINUTES, "--json", str(figures)]
    env = os.environ | {"TMPDIR": "/tmp"}  # a socket's address has a hundred characters
    said = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout[-4000:] + said.stderr[-8000:]
    told = json.loads(figures.read_text("utf-8"))
    assert not any(told["faults"].values())
    assert told["accepted"] == sum(told["ended"].values())
    assert told["ended"]["completed"] > 0 and told["compared"] > 0
    assert sum(told["kills"].values()) >= 8
    assert all(told["kills_by_stage"].values()), told["kills_by_stage"]
    assert told["outages"].keys() == {kind for kind in KINDS if told["disk"] or kind != "disk"}


def test_a_decoder_that_ends_before_it_is_hit_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    ended = psutil.Process(child.pid)
    child.wait()
    monkeypatch.setattr(kills, "WAIT_SECONDS", 0.1)
    monkeypatch.setattr(kills, "is_at", lambda *_: True)
    monkeypatch.setattr(kills, "decoders", lambda _: [ended])
    monkeypatch.setattr(Worker, "runs", True)
    fleet, traffic = Fleet(tmp_path, {}, apis=0, workers=1), Traffic([])
    killer = kills.Killer(fleet, traffic, random.Random(0), threading.Event())
    killer.run([Kill("decoder", "", "", pause=0, restart_after=0)])
    assert (killer.count, killer.missed) == (0, 1)


def outcome(*, long: bool, disk: bool = True, without: str = "", stage_kills: int = 50) -> Outcome:
    """Of a run in which everything held."""
    return Outcome(
        Plan(1, 1.0, long),
        kills={("worker", stage): stage_kills for stage in report.STAGES},
        outages={kind: 1 for kind in KINDS if kind != without},
        disk=disk,
        quiet=True,
    )


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_in_which_an_outage_never_happened_has_shown_nothing(kind: str, long: bool) -> None:
    assert report.wrong(outcome(long=long)) == []
    assert report.wrong(outcome(long=long, without=kind)) == [f"Outages that never happened: {kind}."]


def test_a_short_run_may_do_without_a_disk_to_fill_and_says_so() -> None:
    nowhere = outcome(long=False, disk=False, without="disk")
    assert report.wrong(nowhere) == []
    assert "no mount namespace" in report.table(nowhere)
    assert report.wrong(outcome(long=True, disk=False, without="disk")) == ["Outages that never happened: disk."]


def test_a_long_run_needs_its_kills() -> None:
    said = report.wrong(outcome(long=True, stage_kills=19))
    assert said == ["Only 76 kills.", *(f"Only 19 kills at the stage {stage}." for stage in report.STAGES)]
    assert report.wrong(outcome(long=False, stage_kills=1)) == []


def test_what_the_sweep_leaves_is_wrong_though_the_check_removes_it_later() -> None:
    run = outcome(long=False)
    run.verdict.unswept = ["output/song/task/1/vocals.wav"]
    run.verdict.left = Left(young=["uploads/tenant/song/source"])
    assert report.wrong(run) == ["not swept: output/song/task/1/vocals.wav"]


def test_of_files_without_a_row_only_those_that_may_still_get_one_have_a_day(tmp_path: Path) -> None:
    stale, song, kept = "output/song/task/1/vocals.wav", "uploads/tenant/id/source", "output/song/task/2/vocals.wav"
    for key in (stale, song, kept, "incoming/worker1@here/id/vocals.wav", "incoming/api/id/source"):
        (tmp_path / key).parent.mkdir(parents=True)
        (tmp_path / key).touch()
    found = left(tmp_path, {kept}, {"worker1"})
    assert (found.due, found.young) == ([stale, "incoming/worker1@here/id"], [song, "incoming/api/id"])
    yesterday = time.time() - 25 * 3600
    for path in (tmp_path / song, tmp_path / "incoming/api/id"):
        os.utime(path, (yesterday, yesterday))
    assert not left(tmp_path, {kept}, {"worker1"}).young


@pytest.mark.timeout(600)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_workers_that_come_back_must_remove_what_is_theirs(service: InProcess, warmup: Path, tmp_path: Path) -> None:
    data, demo = service.settings.data_dir, service.login()
    task_id = demo.submit(demo.upload(warmup))
    with service.wiring.database.write() as session:
        walk(session, UUID(task_id), "failed")
    stale, nobodys = (f"output/song/{each}/1/vocals.wav" for each in (task_id, uuid4()))
    sent, killed, song = "incoming/api/id/source", "incoming/worker1@here/id/vocals.wav", "uploads/tenant/id/source"

    def put(*keys: str) -> None:
        for key in keys:
            (data / key).parent.mkdir(parents=True, exist_ok=True)
            (data / key).touch()

    own = {"VR_DATA_DIR": str(data), "VR_DB__URL": service.settings.db.url, "VR_ENGINE__THREADS": "1"}
    fleet = Fleet(tmp_path, os.environ | own, apis=0, workers=1)
    with psycopg.connect(service.settings.db.url.replace("+psycopg", ""), autocommit=True) as connection:
        put(stale, sent, song)
        found, unswept = sweep(connection, data, fleet)
        assert (found.due, found.young, unswept) == ([stale], [song, sent.rpartition("/")[0]], [])
        assert not (data / stale).exists() and not (data / sent).exists() and (data / song).exists()
        # What only a look for orphans would find, and what the start of a worker of that name has not removed.
        put(nobodys, killed)
        assert sweep(connection, data, fleet, seconds=1)[1] == [killed.rpartition("/")[0], nobodys]


def test_a_disk_that_could_not_be_filled_does_not_count_as_full(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path; from bench.chaos.disk import Disk\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "sys.exit(Disk(Path(sys.argv[1]), True).fill(0))"
    )
    assert not subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=False).returncode


@pytest.mark.parametrize("long", [False, True])
def test_each_schedule_has_every_kind_of_outage(long: bool) -> None:
    assert {each.kind for each in draw(1, 60, 4, long=long).breaks} == set(KINDS)


def test_a_seed_gives_the_same_schedule() -> None:
    assert draw(7, 60, 4, long=True) == draw(7, 60, 4, long=True)
    assert draw(7, 60, 4, long=True) != draw(8, 60, 4, long=True)


def test_the_long_schedule_has_the_kills_that_were_promised() -> None:
    kills = draw(1, 1200, 4, long=True).kills
    assert len(kills) >= 200
    for stage in ("decode", "network", "write", "commit"):
        assert sum(kill.stage == stage for kill in kills) >= 20


def test_a_board_says_where_a_thread_is_also_when_its_process_is_gone(tmp_path: Path) -> None:
    reader = BoardReader(tmp_path / "board")
    reader.open()
    board = Board(reader.path)
    with board.at("network"), board.at("write"):
        assert [seen.stage for seen in reader.seen()] == ["network"]
    assert reader.seen() == []

    program = (
        "import os, signal, sys; from pathlib import Path; from bench.chaos.board import Board\n"
        "with Board(Path(sys.argv[1])).at('commit'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    reader.open()
    died = subprocess.run([sys.executable, "-c", program, str(reader.path)], cwd=ROOT, check=False)
    assert died.returncode == -9
    assert [seen.stage for seen in reader.seen()] == ["commit"]

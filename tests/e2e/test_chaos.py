"""`make chaos`, the short run: everything is killed, stopped or filled under load, and nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.settings import ROOT
from bench.chaos import servers
from bench.chaos.board import Board, BoardReader
from bench.chaos.schedule import draw
from tests.servers import missing

MINUTES = "0.6"
SEED = 20_260_801


@pytest.mark.timeout(900)
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
    assert {"flush", "redis", "rolling"} <= told["outages"].keys()


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

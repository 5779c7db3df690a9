"""Files against rows, by the service's own rules and by a look that shares nothing with them; and every stem's bits.

What the service removes by itself is counted before anything is helped along: what attempts left of their tasks is
the sweep's to remove, at the latest ten minutes after; what a killed worker left in `incoming/`, its successor's, when
it starts. Only a song without a row, and what a killed API process was receiving, have a day: nobody can tell them
from those whose row is about to come.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from backend.settings import ROOT
from bench.chaos.fleet import Fleet
from bench.chaos.load import Order

FOLDERS = ("uploads", "output", "sending", "leaving")
"""Of the storage, apart from samples and from what is still being written."""
INCOMING = "incoming/*/*"
DAY_SECONDS = 86_400
SWEEP_SECONDS = 120.0
"""For the workers to start, and for the sweep that each begins with."""
STEMS = {"vocals", "accompaniment", "receipt"}


@dataclass(frozen=True, slots=True)
class Left:
    """What no row names: files, and folders in `incoming/`."""

    due: list[str] = field(default_factory=list)
    """That the service's own rules should have removed by now."""
    young: list[str] = field(default_factory=list)
    """That it leaves alone for a day."""


def left(data: Path, named: Collection[str], workers: Collection[str]) -> Left:
    """`workers`: names of those that have come back since somebody was killed."""
    found, yesterday = Left(), time.time() - DAY_SECONDS
    paths = [path for folder in FOLDERS for path in (data / folder).rglob("*") if path.is_file()]
    for path in [*paths, *data.glob(INCOMING)]:
        key = path.relative_to(data).as_posix()
        room, owner = key.split("/")[:2]
        if key in named:
            continue
        waits = room != "output" and not (room == "incoming" and owner.partition("@")[0] in workers)
        (found.young if waits and path.stat().st_mtime > yesterday else found.due).append(key)
    return found


def sweep(
    connection: psycopg.Connection, data: Path, fleet: Fleet, seconds: float = SWEEP_SECONDS
) -> tuple[Left, list[str]]:
    """All has stopped; the workers come back once, and do what they do then. (what was left, what of it they should
    have removed and did not). What has a day in `incoming/` is made older than that, but nothing else.
    """
    named, workers = keys(connection), {worker.name for worker in fleet.workers}
    found = left(data, named, workers)
    for key in found.young:
        if key.startswith("incoming/"):
            _age(data / key)
    give_up = time.monotonic() + seconds
    with fleet.workers_again():
        while time.monotonic() < give_up:
            with suppress(FileNotFoundError):  # it is being removed
                if not left(data, named, workers).due:
                    break
            time.sleep(0.2)
    return found, sorted(left(data, named, workers).due)


def check(data: Path, environment: dict[str, str], wrong: list[str]) -> int:
    """Have the product's check remove what waits for it to be a day old: files are made older than that. How many it
    were; what it then still finds goes to `wrong`.
    """
    for folder in FOLDERS:
        for path in (data / folder).rglob("*"):
            _age(path)
    command = [sys.executable, "-m", "cli", "storage", "check", "--remove", "--force", "--hash", "--json"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    told = [json.loads(line) for line in said.stdout.splitlines() if line.startswith("{")]
    if said.returncode and not told:
        wrong.append(f"`storage check` failed: {said.stderr.strip()}")
    found = [each for each in told if "kind" in each]
    wrong += [f"{each['kind']}: {each['key']}" for each in found if each["kind"] != "removed"]
    return sum(each["kind"] == "removed" for each in found)


def compare(connection: psycopg.Connection, data: Path, orphans: list[str], missing: list[str]) -> None:
    """Rows against the folders, in which nothing may be left that no row names."""
    named = keys(connection)
    rest = left(data, named, ())
    orphans += sorted({*rest.due, *rest.young})
    missing += sorted(key for key in named if not (data / key).is_file())


def keys(connection: psycopg.Connection) -> set[str]:
    """Of every table that holds some."""
    columns = "SELECT table_name FROM information_schema.columns WHERE column_name = 'storage_key'"
    named: set[str] = set()
    for (table,) in connection.execute(columns).fetchall():
        named |= {str(key) for (key,) in connection.execute(f'SELECT storage_key FROM "{table}"')}
    return {key for key in named if not key.startswith("sample/")}


def _age(path: Path) -> None:
    old = time.time() - 2 * DAY_SECONDS
    os.utime(path, (old, old))


def hear(connection: psycopg.Connection, data: Path, orders: Mapping[str, Order], wrong: list[str]) -> int:
    """Every completed task has all its stems, whole, and with the bits that this song always gives. How many could be
    compared with those of an earlier run.
    """
    rows = connection.execute("SELECT task_id, kind, name, storage_key, sha256, size FROM artifact").fetchall()
    seen: dict[tuple[str, str, str], str] = {}
    names: dict[str, set[str]] = defaultdict(set)
    compared = 0
    for task_id, kind, name, key, sha256, size in rows:
        names[str(task_id)].add(name)
        path = data / key
        if not path.is_file():
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256 or path.stat().st_size != size:
            wrong.append(f"{key} is not what its row says")
        order = orders.get(str(task_id))
        if kind == "stem" and order is not None:
            same = (order.song.path.name, str(order.wishes["format"]), name)
            compared += same in seen
            if seen.setdefault(same, found) != found:
                wrong.append(f"{key} has other bits than an earlier run of {same}")
    for (task_id,) in connection.execute("SELECT id FROM task WHERE status = 'completed'"):
        if names[str(task_id)] != STEMS:
            wrong.append(f"task {task_id} is completed with {sorted(names[str(task_id)])}")
    return compared

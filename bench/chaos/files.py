"""Files against rows, by the product's own check and by one that shares nothing with it; and every stem's bits."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import psycopg

from backend.settings import ROOT
from bench.chaos.load import Order

FOLDERS = ("uploads", "output", "sending")
"""Of the storage, apart from samples and from what is still being written."""
AGED_SECONDS = 2 * 86_400
STEMS = {"vocals", "accompaniment", "receipt"}


def sweep(data: Path, environment: dict[str, str], wrong: list[str]) -> int:
    """Have the product remove what killed processes left, as it does when that is a day old: files are made older
    than that. How many it were; what it then still finds goes to `wrong`.
    """
    old = time.time() - AGED_SECONDS
    for folder in FOLDERS:
        for path in (data / folder).rglob("*"):
            os.utime(path, (old, old))
    command = [sys.executable, "-m", "cli", "storage", "check", "--remove", "--force", "--hash", "--json"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    told = [json.loads(line) for line in said.stdout.splitlines() if line.startswith("{")]
    if said.returncode and not told:
        wrong.append(f"`storage check` failed: {said.stderr.strip()}")
    found = [each for each in told if "kind" in each]
    wrong += [f"{each['kind']}: {each['key']}" for each in found if each["kind"] != "removed"]
    return sum(each["kind"] == "removed" for each in found)


def compare(connection: psycopg.Connection, data: Path, orphans: list[str], missing: list[str]) -> None:
    """Keys of every table that holds some, against the folders."""
    columns = "SELECT table_name FROM information_schema.columns WHERE column_name = 'storage_key'"
    named: set[str] = set()
    for (table,) in connection.execute(columns).fetchall():
        named |= {str(key) for (key,) in connection.execute(f'SELECT storage_key FROM "{table}"')}
    named = {key for key in named if not key.startswith("sample/")}
    there = {
        path.relative_to(data).as_posix() for folder in FOLDERS for path in (data / folder).rglob("*") if path.is_file()
    }
    orphans += sorted(there - named)
    missing += sorted(named - there)


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

"""Whether the promises held: what people were told against rows, ledger and files, once all is quiet."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from backend.settings import ROOT
from bench.chaos import files
from bench.chaos.files import Left
from bench.chaos.fleet import Fleet
from bench.chaos.load import Order
from vocal_remover.records import FINISHED

QUIET_SECONDS = 240.0
PART_TABLES = ("part",)


@dataclass
class Verdict:
    accepted: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    """By error code."""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Stems that are not what their rows say, or not the same bits as those of another run; poison that completed."""
    ledger: list[str] = field(default_factory=list)
    holds: int = 0
    parts: int = 0
    left: Left = field(default_factory=Left)
    """What no row named when all had stopped: for the sweep of workers that start, and for the check when it is old."""
    unswept: list[str] = field(default_factory=list)
    """What workers that came back should have removed, and did not."""
    checked: int = 0
    """Files that the product's check removed when they were old."""
    orphans: list[str] = field(default_factory=list)
    """What no row names even then."""
    missing: list[str] = field(default_factory=list)
    """Rows whose file is not there."""
    compared: int = 0
    """Stems whose bits were those of an earlier run of the same song."""

    def faults(self) -> dict[str, int]:
        """All of these must be 0."""
        return {
            "lost": len(self.lost),
            "doubled": len(self.doubled),
            "wrong": len(self.wrong),
            "ledger difference": len(self.ledger),
            "holds left": self.holds,
            "files not swept": len(self.unswept),
            "orphan files": len(self.orphans),
            "files missing": len(self.missing),
            "parts left": self.parts,
        }


def wait_for_quiet(url: str, seconds: float = QUIET_SECONDS) -> bool:
    """Whether every task has ended."""
    give_up = time.monotonic() + seconds
    with psycopg.connect(url, autocommit=True) as connection:
        while time.monotonic() < give_up:
            (left,) = connection.execute(
                "SELECT count(*) FROM task WHERE status <> ALL(%s)", [list(FINISHED)]
            ).fetchone() or (1,)
            if not left:
                return True
            time.sleep(0.2)
    return False


def reach(url: str, data: Path, environment: dict[str, str], orders: Iterable[Order], fleet: Fleet) -> Verdict:
    """`fleet` is closed; its workers come back for a moment, once their rows have been looked at."""
    verdict = Verdict()
    with psycopg.connect(url, autocommit=True) as connection:
        _tasks(connection, verdict, list(orders))
        _money(connection, verdict)
        verdict.left, verdict.unswept = files.sweep(connection, data, fleet)
        verdict.checked = files.check(data, environment, verdict.orphans)
        files.compare(connection, data, verdict.orphans, verdict.missing)
        known = {task_id: order for order in orders for task_id in order.task_ids}
        verdict.compared = files.hear(connection, data, known, verdict.wrong)
    _verify_ledger(verdict, environment)
    return verdict


def _tasks(connection: psycopg.Connection, verdict: Verdict, orders: list[Order]) -> None:
    rows = {
        str(task_id): (status, code)
        for task_id, status, code in connection.execute("SELECT id, status, error_code FROM task")
    }
    promised: dict[str, Order] = {}
    for order in orders:
        if len(order.task_ids) > 1:
            verdict.doubled.append(f"key {order.key} stands for {sorted(order.task_ids)}")
        if not order.task_ids:
            verdict.lost.append(f"key {order.key} was never answered")
        for task_id in order.task_ids:
            promised[task_id] = order
    verdict.accepted = len(promised)
    verdict.doubled += [f"task {task_id} was ordered by nobody" for task_id in rows.keys() - promised.keys()]
    for task_id, order in promised.items():
        status, code = rows.get(task_id, ("no row", None))
        if status not in FINISHED:
            verdict.lost.append(f"task {task_id} is {status}")
            continue
        verdict.ended[status] += 1
        if status == "failed":
            verdict.failed[str(code)] += 1
        if order.status in FINISHED and order.status != status:
            verdict.doubled.append(f"task {task_id} was {order.status} and is {status}")
        if order.song.poison and status == "completed":
            verdict.wrong.append(f"task {task_id} completed with a song that kills its decoder")
        if status == "cancelled" and not order.cancel:
            verdict.wrong.append(f"task {task_id} was cancelled by nobody")
    twice = (
        "SELECT task_id, 'finished more than once' FROM event WHERE kind = ANY(%s) GROUP BY 1 HAVING count(*) > 1",
        "SELECT task_id, 'has files of several attempts' FROM artifact GROUP BY 1 HAVING count(DISTINCT attempt) > 1",
        "SELECT task_id, 'was paid twice' FROM transfer WHERE kind = 'capture' GROUP BY 1 HAVING count(*) > 1",
    )
    for statement in twice:
        given = [list(FINISHED)] if "%s" in statement else None
        verdict.doubled += [f"task {task_id} {what}" for task_id, what in connection.execute(statement, given)]
    gaps = "SELECT task_id FROM event GROUP BY 1 HAVING count(*) <> max(seq) OR min(seq) <> 1"
    verdict.wrong += [f"events of task {task_id} have a gap" for (task_id,) in connection.execute(gaps)]


def _money(connection: psycopg.Connection, verdict: Verdict) -> None:
    (held,) = connection.execute("SELECT coalesce(sum(balance), 0) FROM account WHERE kind = 'held'").fetchone() or (0,)
    verdict.holds = int(held)
    for table in PART_TABLES:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
        verdict.parts += int(count)
    unpaid = """
        SELECT task.id, task.status, count(transfer.id) FROM task
        LEFT JOIN transfer ON transfer.task_id = task.id
            AND transfer.kind = CASE task.status WHEN 'completed' THEN 'capture' ELSE 'release' END
        WHERE task.price > 0 GROUP BY 1, 2 HAVING count(transfer.id) <> 1
    """
    verdict.ledger += [
        f"task {task_id} ({status}) has {count} settlements" for task_id, status, count in connection.execute(unpaid)
    ]


def _verify_ledger(verdict: Verdict, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "cli", "ledger", "verify"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if said.returncode:
        verdict.ledger += said.stderr.splitlines() or ["`ledger verify` did not say what is wrong"]

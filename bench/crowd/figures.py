"""What a crowd met, as figures: percentiles, waits, speeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from bench.crowd.proof import Taken
from bench.crowd.run import Outcome
from bench.crowd.way import Asked
from bench.figures import markdown

SHARES = (0.5, 0.95, 0.99)
STATUS = ("GET /tasks/{id}", "GET /status/{id}")
AIM = 0.85


def percentiles(values: Iterable[float]) -> list[float]:
    """Those of SHARES; of nothing, none is a number."""
    ordered = sorted(values)
    return [ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan for share in SHARES]


def passed_by(tasks: Sequence[Taken], tenant_tasks: frozenset[str]) -> int:
    """Of the tasks of one greedy tenant, how many were begun while somebody else's first task waited: the most."""
    theirs = [task.claimed for task in tasks if task.task_id in tenant_tasks and task.claimed]
    firsts: dict[Any, Taken] = {}
    for task in sorted(tasks, key=lambda each: each.created):
        if task.task_id not in tenant_tasks:
            firsts.setdefault(task.tenant_id, task)
    return max(
        (sum(first.created < begun < first.claimed for begun in theirs) for first in firsts.values() if first.claimed),
        default=0,
    )


def tasks_per_minute(tasks: Sequence[Taken]) -> float:
    """From the first claim to the last end."""
    begun = [task.claimed for task in tasks if task.claimed]
    ended = [task.finished for task in tasks if task.finished]
    if not begun or not ended:
        return math.nan
    return 60 * len(ended) / (max(ended) - min(begun)).total_seconds()


def summary(outcome: Outcome) -> dict[str, Any]:
    """JSON. Seconds, but for what says otherwise."""
    visits = [*outcome.visits, *([outcome.greedy] if outcome.greedy else [])]
    asked = [each for visit in visits for each in visit.asked]
    quick = [each for visit in outcome.visits if not visit.slow for each in visit.asked]
    proof, speed = outcome.proof, tasks_per_minute(outcome.proof.tasks)
    return {
        "service": outcome.title,
        "scenario": outcome.plan.scenario,
        "users": outcome.plan.users,
        "song_seconds": outcome.plan.seconds,
        "accepted": sum(len(visit.task_ids) for visit in visits),
        "completed": sum(task.status == "completed" for task in proof.tasks),
        "fetched": sum(visit.fetched for visit in visits),
        "failures": [f"{visit.who}: {visit.failure}" for visit in visits if visit.failure],
        "errors": _counted(each for each in asked if each.wrong),
        "polite": _counted(each for each in asked if each.polite),
        "upload": percentiles(_good(quick, "POST /uploads")),
        "upload_with_waits": percentiles(visit.uploaded for visit in outcome.visits if not visit.slow),
        "submit": percentiles(_good(quick, "POST /separate")),
        "status": percentiles(_good(quick, *STATUS)),
        "statuses": len(_good(quick, *STATUS)),
        "wait": percentiles(task.waited for task in proof.tasks),
        "processing": percentiles(task.worked for task in proof.tasks),
        "fetching": percentiles(visit.downloaded - visit.completed for visit in outcome.visits if visit.downloaded),
        "tasks_per_minute": speed,
        "engine_per_minute": outcome.engine,
        "share": speed / outcome.engine if outcome.engine else None,
        "passed_by": passed_by(proof.tasks, frozenset(outcome.greedy.task_ids)) if outcome.greedy else None,
        "peak_bytes": outcome.peaks,
        "client_cpu_seconds": outcome.client_cpu,
        "lost": proof.lost,
        "doubled": proof.doubled,
        "held_millicredits": proof.held,
        "wrong_balances": proof.wrong_balances,
        "missing_files": proof.missing_files,
        "orphan_files": proof.orphan_files,
    }


def broken(found: dict[str, Any]) -> list[str]:
    """The promises that this run did not keep; speed is no promise of a machine that others use too."""
    none = ("errors", "failures", "lost", "doubled", "held_millicredits", "wrong_balances", "missing_files",
            "orphan_files")  # fmt: skip
    said = [f"{name}: {found[name]}" for name in none if found[name]]
    if found["fetched"] != found["accepted"]:
        said.append(f"stems of {found['fetched']} of {found['accepted']} tasks arrived")
    return said


def table(runs: Sequence[dict[str, Any]]) -> str:
    """A column for each run."""
    rows = [
        ["accepted / completed / fetched", *(f"{r['accepted']} / {r['completed']} / {r['fetched']}" for r in runs)],
        ["errors; polite refusals", *(f"{_said(r['errors'])}; {_said(r['polite'])}" for r in runs)],
        ["lost; doubled; held; orphan or missing files", *(_faults(r) for r in runs)],
        *([label, *(_three(r[name]) for r in runs)] for label, name in (
            ("upload, s (p50 / p95 / p99)", "upload"),
            ("upload with waits asked for, s", "upload_with_waits"),
            ("submit, s", "submit"),
            ("status, s", "status"),
            ("in the queue, s", "wait"),
            ("processing, s", "processing"),
            ("fetching both stems, s", "fetching"),
        )),
        ["tasks a minute", *(f"{r['tasks_per_minute']:.1f}" for r in runs)],
        ["engine alone, songs a minute", *(_or_dash(r["engine_per_minute"]) for r in runs)],
        ["share of it (aim 85 %)", *(f"{100 * r['share']:.0f} %" if r["share"] else "–" for r in runs)],
        ["greedy tenant's tasks before a first one", *("–" if r["passed_by"] is None else str(r["passed_by"])
                                                       for r in runs)],
        ["peak memory, MB", *(", ".join(f"{n} {b / 1e6:.0f}" for n, b in r["peak_bytes"].items()) for r in runs)],
        ["CPU s of the crowd itself", *(f"{r['client_cpu_seconds']:.0f}" for r in runs)],
    ]  # fmt: skip
    head = ["", *(f"{r['service']}, {r['scenario']}, {r['users']} × {r['song_seconds']:g} s" for r in runs)]
    return markdown(head, rows)


def mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def _good(asked: Iterable[Asked], *routes: str) -> list[float]:
    return [each.seconds for each in asked if each.route in routes and 200 <= each.status < 300]


def _counted(asked: Iterable[Asked]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in asked:
        name = f"{each.status or 'broken'} {each.route}"
        counts[name] = counts.get(name, 0) + 1
    return counts


def _said(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} × {name}" for name, count in counts.items()) or "none"


def _faults(found: dict[str, Any]) -> str:
    files = found["orphan_files"] + found["missing_files"]
    return f"{found['lost']}; {found['doubled']}; {found['held_millicredits']}; {files}"


def _three(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in values)


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"

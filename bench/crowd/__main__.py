"""`python -m bench.crowd`: a hundred people at once, each with a song of three minutes, on two cores.

The real processes with their default limits, the crowd beside them on the same cores, each of its people at an address
of their own. Exits 1 when a task was lost, doubled or refused without a Retry-After.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.compare import say
from bench.contenders import DATA, machine
from bench.crowd.engine_speed import songs_per_minute
from bench.crowd.figures import broken, mean, summary, table
from bench.crowd.run import Outcome, Plan, Scenario, run
from bench.crowd.songs import write_songs
from bench.ended import end_in_good_order
from bench.load.service import servers_missing

SCENARIOS: tuple[Scenario, ...] = ("plain", "slow", "greedy")
ENGINE_SONGS = 16


def main() -> int:
    end_in_good_order()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    options = _parser().parse_args()
    if len(cores := sorted(os.sched_getaffinity(0))) > options.cores:
        os.sched_setaffinity(0, cores[: options.cores])  # children inherit it
    load = os.getloadavg()[0]
    runs: list[dict[str, Any]] = []
    scenarios: tuple[Scenario, ...] = options.scenario or SCENARIOS
    for mode in options.mode or ("embedded", "servers"):
        if mode == "servers" and (why := servers_missing()):
            print(f"Not measured with servers: {why}.", file=sys.stderr)
            continue
        for scenario in scenarios:
            plan = Plan(options.users, options.seconds, scenario, options.slow, options.slow_seconds)
            runs.append(summary(_measured(plan, mode == "embedded", options.engine)))
            _save(options.json or DATA / "crowd.json", runs, load)
    if not runs:
        return 1
    print(f"{machine()}, load {load:.1f} before it began, {len(os.sched_getaffinity(0))} cores for all.\n")
    print(table(runs))
    faults = [f"{found['service']}, {found['scenario']}: {fault}" for found in runs for fault in broken(found)]
    print(
        "\n" + ("\n".join(faults) or "Every task was completed and its stems arrived; nothing lost, nothing doubled.")
    )
    return 1 if faults else 0


def _measured(plan: Plan, embedded: bool, engine: bool) -> Outcome:
    """The engine before and after, so that what else goes on here counts for both alike."""
    where = "embedded" if embedded else "with servers"
    speeds = [_engine(plan)] if engine else []
    say(f"{plan.users} people, {plan.scenario}, {where}")
    outcome = run(plan, embedded=embedded)
    if engine:
        outcome.engine = mean([*speeds, _engine(plan)])
    return outcome


def _engine(plan: Plan) -> float:
    from backend.settings import Settings

    say("the engine alone")
    with tempfile.TemporaryDirectory(prefix="vr-crowd-") as folder:
        songs = write_songs(Path(folder), min(plan.users, ENGINE_SONGS), plan.seconds)
        return songs_per_minute(songs, Settings(_env_file=None))


def _save(path: Path, runs: list[dict[str, Any]], load: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), "load": load, "runs": runs}, indent=1), "utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.crowd")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=180, help="length of each song")
    parser.add_argument("--mode", action="append", choices=("embedded", "servers"), help="unsaid: both")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="unsaid: all three")
    parser.add_argument("--slow", type=int, default=10, help="how many trickle their song in the scenario slow")
    parser.add_argument("--slow-seconds", type=float, default=180, help="that theirs takes to arrive")
    parser.add_argument("--cores", type=int, default=2, help="for service and crowd together")
    parser.add_argument("--no-engine", dest="engine", action="store_false", help="without the engine by itself")
    parser.add_argument("--json", type=Path, help="where the figures go, too; unsaid: data/bench/crowd.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())

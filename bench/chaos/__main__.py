"""`python -m bench.chaos [--long] [--seed N] [--minutes N]`: load from many tenants while everything is broken.

Servers, disk and processes are the run's own, in a temporary folder. Ends with one table; exits 1 when a promise did
not hold, and keeps the folder then. A seed gives the same schedule of kills and outages, and the same people; what
they meet depends on the machine as well.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from pathlib import Path

from bench.chaos import disk, report, servers
from bench.chaos.run import Plan, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.chaos")
    parser.add_argument("--long", action="store_true", help="more than 200 kills, 20 and more at each stage")
    parser.add_argument("--minutes", type=float, help="how long to break things; by default 1, with --long 20")
    parser.add_argument("--seed", type=int, help="of the schedule; by default drawn")
    parser.add_argument("--json", type=Path, help="where to write the figures for programs")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs, rows and files")
    options = parser.parse_args()
    if what := servers.missing():
        parser.error(f"needs {what}")
    folder, own_disk = disk.enter()
    plan = Plan(
        random.SystemRandom().randrange(2**31) if options.seed is None else options.seed,
        options.minutes or (20.0 if options.long else 1.0),
        options.long,
    )
    print(f"seed {plan.seed}, folder {folder}", file=sys.stderr, flush=True)
    outcome = run(plan, folder, own_disk)
    print(report.table(outcome))
    if options.json:
        options.json.write_text(json.dumps(report.figures(outcome), indent=1) + "\n", "utf-8")
    wrong = report.wrong(outcome)
    for line in wrong:
        print(line, file=sys.stderr)
    if wrong or options.keep:
        print(f"Logs: {folder}; files are gone with the disk.", file=sys.stderr)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

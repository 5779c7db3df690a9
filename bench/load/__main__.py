"""`python -m bench.load [--quick] [--only embedded|servers]`: how much the API takes, and how soon it answers.

The real processes, the generator beside them on the same cores. Needs nothing that the tests don't; with `wrk`
installed it measures full speed with that, which costs less than a generator in Python.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys

from backend.db import Database
from bench.contenders import machine
from bench.ended import end_in_good_order
from bench.load import listings, rows, scenarios
from bench.load.service import Api, servers_missing


def main() -> None:
    end_in_good_order()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(prog="bench.load")
    parser.add_argument("--quick", action="store_true", help="shorter, and listings up to 100,000 rows")
    parser.add_argument("--only", choices=("embedded", "servers"), help="one half of it")
    options = parser.parse_args()
    seconds = 3 if options.quick else 8
    sizes = (10, 10_000, 100_000) if options.quick else (10, 10_000, 1_000_000)
    print(f"{machine()}, load {os.getloadavg()[0]:.1f} before it began, {len(os.sched_getaffinity(0))} cores for all.")
    if shutil.which("wrk") is None:
        print("wrk is not installed: requests/s are those that a generator in Python gets, which takes a share.")
    for embedded in (True, False):
        if options.only == ("servers" if embedded else "embedded"):
            continue
        if not embedded and (why := servers_missing()):
            print(f"\nNot measured: {why}.")
            continue
        with Api(embedded=embedded) as api:
            print(f"\n## {api.title}\n\n{scenarios.table(api, seconds, lambda ids: _finish(api, ids))}")
            print(f"\n{scenarios.busy(api, seconds)}\n")
            for table in listings.tables(api, sizes):
                print(f"{table}\n")


def _finish(api: Api, task_ids: list[str]) -> None:
    database = Database(api.settings)
    rows.finish(database, task_ids)
    database.dispose()


if __name__ == "__main__":
    main()

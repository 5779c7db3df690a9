"""`make bench`: us beside both peers on this machine, in one run.

python -m bench [--quick] [--only WORD]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict

from bench import quality, throughput
from bench.child import ROOT
from bench.compare import FULL, QUICK, compare, stages
from bench.contenders import DATA, contenders, machine, missing
from bench.figures import Results, comparison, ratios, spread

BUSY = 0.5
"""Processes that others run, on average, from which on figures are not worth much."""


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--quick", action="store_true", help="short songs, once: to see that it runs")
    parser.add_argument("--only", default="", help="contenders whose title has this in it")
    options = parser.parse_args()
    lengths = QUICK if options.quick else FULL
    measured = [each for each in contenders() if options.only in each.title]
    load = os.getloadavg()[0]
    if load > BUSY:
        print(f"Others are at work here (load {load:.1f}): times will be long and uneven.", file=sys.stderr)
    results = compare(measured, lengths, _save)
    short, middle, long = (length.title for length in lengths)

    print(
        f"## Speed and memory\n\n{machine()}, Python {platform.python_version()}, commit {_commit()}, "
        f"load {load:.1f} before it began\n"
    )
    print(comparison(results, short, middle, long))
    print("\nMP3 in, two WAV files of 16 bit out (four for 4 stems), from opening the file to files closed.")
    print("Medians; memory is the peak PSS of the whole process tree, in runs of its own.\n")
    for title, each in results[middle].items():
        print(f"- {title}: {each.name or 'did not run'} {spread(each)}")
    print(*(f"- {line}" for line in missing()), sep="\n")
    print(*ratios(results, middle, [each.title for each in measured if each.peer]), sep="\n")
    print(f"\n## Where the time goes ({middle})\n")
    print(stages(measured, lengths[1]))
    print("\n## Several songs at once\n")
    sides = [each for each in measured if not each.peer]
    seconds = 10 if options.quick else 60
    print(throughput.table([throughput.measure(each, 8, seconds) for each in sides], seconds))
    print("\n## Quality\n", flush=True)
    if not options.quick and quality.CLIPS.is_dir():
        published = ROOT / "data" / "models" / "2stems"
        quality.main(["--weights", str(published)] if published.is_dir() else [])
    print(f"\nThe same figures in {(DATA / 'results.json').relative_to(ROOT)}; python -m bench.memory: any length.")


def _save(results: Results) -> None:
    figures = {length: {title: asdict(each) for title, each in row.items()} for length, row in results.items()}
    (DATA / "results.json").write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1), "utf-8")


def _commit() -> str:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()

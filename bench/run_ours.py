"""The engine: songs through one loaded model, in this process. Prints the line that `bench.child` reads.

python -m bench.run_ours [--model …] [--at-once N] SONG…
Songs go one after the other, `--runs` times all of them, or N at once through the one model.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.thread_time import ThreadTime
from engine.audio_io import DecodeLimits, warm_decoder
from engine.catalog import load_catalog
from engine.models.base import Separator
from engine.receipt import Receipt
from engine.registry import load_separator
from engine.separate import separate
from engine.sink import DirectorySink, NullSink, StemSink

ROOT = Path(__file__).resolve().parent.parent
LIMITS = DecodeLimits(seconds=12 * 3600, cpu_seconds=3600, wait_seconds=3600)


@dataclass(frozen=True, slots=True)
class Job:
    separator: Separator
    keep: bool
    """Write WAV files; else everything is heard and thrown away."""

    def __call__(self, song: Path) -> tuple[float, Receipt]:
        """Seconds from here to the stems on the disk, and the receipt."""
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            sink: StemSink = DirectorySink(Path(folder)) if self.keep else NullSink()
            receipt = separate(song, self.separator, sink, limits=LIMITS)
            return time.monotonic() - began, receipt


def main() -> None:
    options = _parser().parse_args()
    separator = load(options)
    warm_decoder()
    job = Job(separator, not options.null)
    runs: list[dict[str, Any]] = []
    first_done = 0.0
    for _ in range(options.runs):
        if options.at_once > 1:
            runs.append(_together(job, options.songs, options.at_once))
            first_done = first_done or time.monotonic()
            continue
        for song in options.songs:
            runs.append(_alone(job, song, options.threads_cpu))
            first_done = first_done or time.monotonic()
    info = separator.runtime
    print(
        json.dumps(
            {
                "name": f"{separator.spec.id} on {info.name} {info.version}, {info.precision}, {info.threads} threads",
                "runs": runs,
                "first_done": first_done,
                "more": {"precision": info.precision, "runtime": info.name},
            }
        )
    )
    separator.close()


def load(options: argparse.Namespace) -> Separator:
    catalog = load_catalog(ROOT / "assets" / "models.toml")
    return load_separator(
        catalog[options.model],
        catalog,
        threads=options.threads,
        weights_path=options.weights,
        runtime=options.runtime,
        precision=options.precision,
        graph_cache=options.cache,
    )


def _alone(job: Job, song: Path, by_thread: bool) -> dict[str, Any]:
    watch = ThreadTime() if by_thread else None
    if watch is not None:
        watch.start()
    cpu, children = sum(os.times()[:4]), _children_cpu()
    seconds, receipt = job(song)
    threads: dict[str, float] = {}
    if watch is not None:
        threads = watch.stop() | {"decoder's process": round(_children_cpu() - children, 3)}
    return {
        "seconds": seconds,
        "cpu_seconds": sum(os.times()[:4]) - cpu,
        "song_seconds": receipt.frames_out / receipt.rate,
        "stages": receipt.seconds,
        "threads": threads,
    }


def _together(job: Job, songs: list[Path], at_once: int) -> dict[str, Any]:
    cpu, began = sum(os.times()[:4]), time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        receipts = [receipt for _, receipt in pool.map(job, songs)]
    return {
        "seconds": time.monotonic() - began,
        "cpu_seconds": sum(os.times()[:4]) - cpu,
        "song_seconds": sum(receipt.frames_out / receipt.rate for receipt in receipts),
    }


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.run_ours")
    parser.add_argument("songs", nargs="+", type=Path)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--cache", type=Path, help="folder of built graphs")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--null", action="store_true", help="write no file")
    parser.add_argument("--threads-cpu", action="store_true", help="say each thread's CPU seconds")
    return parser


if __name__ == "__main__":
    main()

"""Separate songs on this machine: no server, no database.

python -m engine separate SONG... -o DIR [--model lite] [--weights DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path

from engine.audio_io import DecodeLimits
from engine.catalog import load_catalog
from engine.errors import EngineError
from engine.models.base import Separator
from engine.registry import load_separator
from engine.separate import Progress, separate
from engine.sink import DirectorySink

CATALOG = Path(__file__).resolve().parent.parent / "assets" / "models.toml"


def main(arguments: list[str] | None = None) -> int:
    """0 when every song was separated, 1 when one failed."""
    options = _parser().parse_args(arguments)
    catalog = load_catalog(CATALOG)
    try:
        spec = catalog[options.model]
        separator = load_separator(spec, catalog, threads=options.threads, weights_path=options.weights)
    except EngineError as error:
        print(f"{error} {error.advice}", file=sys.stderr)
        return 1
    failures = 0
    for song in options.songs:
        try:
            _separate_one(song, separator, options)
        except (EngineError, OSError) as error:
            failures += 1
            advice = error.advice if isinstance(error, EngineError) else ""
            print(f"\r{song}: {error} {advice}", file=sys.stderr)
    separator.close()
    return 1 if failures else 0


def _separate_one(song: Path, separator: Separator, options: argparse.Namespace) -> None:
    folder = options.output / song.stem
    receipt = separate(
        song,
        separator,
        DirectorySink(folder),
        limits=DecodeLimits(seconds=options.max_seconds),
        on_progress=partial(_show, song),
    )
    (folder / "receipt.json").write_text(json.dumps(receipt.to_json(), indent=2) + "\n", "utf-8")
    notes = "".join(f"\n  {warning.code}: {warning.detail}" for warning in receipt.warnings)
    print(f"\r{song} -> {folder} ({receipt.real_time_factor:.0f}x real time){notes}", file=sys.stderr)


def _show(song: Path, progress: Progress) -> None:
    if not sys.stderr.isatty():
        return  # A log file wants results, not a line rewritten a hundred times.
    print(f"\r{song}: {progress.stage} {progress.fraction:4.0%}", end="", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine", description="Separate songs on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("separate", help="write the stems of songs as WAV files")
    command.add_argument("songs", nargs="+", type=Path, metavar="SONG")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    command.add_argument("--model", default="lite")
    command.add_argument("--weights", type=Path, metavar="DIR", help="folder of the model's weights")
    command.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    command.add_argument("--max-seconds", type=float, default=36000.0)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""python -m vocal_remover: separate songs, watch a folder, look at the credits."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from vocal_remover.async_client import AsyncClient
from vocal_remover.client import Client
from vocal_remover.errors import VocalRemoverError
from vocal_remover.records import Progress, Wishes
from vocal_remover.watch import Plan, Watch

WISHES: dict[str, Any] = {"model": str, "format": str, "bit_depth": str, "bit_rate": int, "start": float}


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        code: int = given.act(given)
    except (VocalRemoverError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vocal_remover",
        description="Stems from a Vocal Remover service. VOCAL_REMOVER_URL and VOCAL_REMOVER_KEY say where and who.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    separate = commands.add_parser("separate", help="send songs, wait, fetch their stems")
    separate.add_argument("songs", nargs="+", type=Path)
    separate.add_argument("--into", type=Path, help="folder for the stems; unsaid: one beside each song")
    separate.set_defaults(act=_separate)
    watch = commands.add_parser("watch", help="separate every song that is put into a folder")
    watch.add_argument("source", type=Path, metavar="IN")
    watch.add_argument("target", type=Path, metavar="OUT")
    watch.add_argument("--once", action="store_true", help="stop when every song that is there has been dealt with")
    watch.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="between two looks (2)")
    watch.add_argument("--at-once", type=int, default=2, metavar="SONGS", help="under way at a time (2)")
    watch.set_defaults(act=_watch)
    for command in (separate, watch):
        for name, kind in WISHES.items():
            command.add_argument(f"--{name.replace('_', '-')}", type=kind)
        command.add_argument("--duration", type=float, help="seconds to separate, and to pay for")
        command.add_argument("--stems", nargs="+", help="names of those to keep, or how many to make")
    commands.add_parser("credits", help="what can be spent").set_defaults(act=_credits)
    return parser


def _wishes(given: argparse.Namespace) -> Wishes:
    wishes = {name: getattr(given, name) for name in (*WISHES, "duration")}
    if given.bit_depth is not None and given.bit_depth.isdigit():
        wishes["bit_depth"] = int(given.bit_depth)
    if given.stems:
        wishes["stems"] = int(given.stems[0]) if given.stems[0].isdigit() else given.stems
    return cast(Wishes, {name: value for name, value in wishes.items() if value is not None})


def _separate(given: argparse.Namespace) -> int:
    with Client() as client:
        for song in given.songs:
            into = None if given.into is None else given.into / song.stem
            result = client.separate(song, into=into, on_progress=_show, **_wishes(given))
            if sys.stderr.isatty():
                print("\r\033[K", end="", file=sys.stderr)
            print(*result.stems.values(), sep="\n", flush=True)
    return 0


def _show(progress: Progress) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{progress.stage or progress.status} {progress.progress:.0%}", end="", file=sys.stderr)


def _watch(given: argparse.Namespace) -> int:
    plan = Plan(given.source, given.target, _wishes(given), given.every, given.at_once)
    return asyncio.run(_watching(plan, given.once))


async def _watching(plan: Plan, once: bool) -> int:
    """A signal ends it in good order: what is under way goes on at the next start."""
    async with AsyncClient() as client:
        watch = asyncio.create_task(Watch(client, plan, lambda text: print(text, flush=True)).run(once))
        if sys.platform != "win32":
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, watch.cancel)
        try:
            left = await watch
        except asyncio.CancelledError:
            print("Stopped; songs that are under way go on at the next start.", flush=True)
            return 0
    return 1 if left else 0


def _credits(_: argparse.Namespace) -> int:
    with Client() as client:
        credits = client.credits()
    print(f"{credits.balance:g} credits, {credits.held:g} held")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

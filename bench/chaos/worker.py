"""`python -m bench.chaos.worker`: the product's worker, which also says on its board where it is.

All of this is the run's: the product knows nothing of it. A song that ends in POISON kills its decoder, as a file
would that meets a fault in FFmpeg; for want of a real one.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.chaos.board import Board

BOARD = "CHAOS_BOARD"
POISON = b"a song that kills its decoder"
POISON_SECONDS = 0.05

_STAGES = {"decode": "decode", "network": "network", "write": "write"}


def main() -> None:
    board = Board(Path(os.environ[BOARD]))
    _watch_engine(board)
    _watch_tasks(board)
    _poison_decoders()
    from cli.serve import serve_worker

    sys.argv = ["vocal-remover", "worker"]
    serve_worker()


def _watch_engine(board: Board) -> None:
    from engine.stages import Stages

    timed = Stages.timing

    @contextmanager
    def timing(self: Stages, stage: Any) -> Iterator[None]:
        with timed(self, stage):
            if stage not in _STAGES:
                yield
                return
            with board.at(_STAGES[stage]):
                yield

    Stages.timing = timing  # type: ignore[method-assign]


def _watch_tasks(board: Board) -> None:
    from celery import signals
    from sqlalchemy import Engine, event

    from backend.storage import LocalStorage
    from backend.task import lifecycle
    from workers.lease import Lease

    completing = threading.local()
    claim, complete, adopt = lifecycle.claim, lifecycle.complete, LocalStorage.adopt
    enter, leave = Lease.__enter__, Lease.__exit__

    def claims(*args: Any, **named: Any) -> Any:
        with board.at("claim"):
            taken = claim(*args, **named)
        if taken is not None:
            board.count(claims=1)
        return taken

    def completes(*args: Any, **named: Any) -> Any:
        with board.at("commit"):
            board.hold("before")
            completing.now = True
            try:
                done = complete(*args, **named)
            finally:
                completing.now = False
            board.hold("after")
            return done

    def adopts(*args: Any, **named: Any) -> Any:
        with board.at("store"):
            return adopt(*args, **named)

    def entered(lease: Any) -> Any:
        board.count(working=1)
        return enter(lease)

    def left(lease: Any, *error: Any) -> Any:
        board.count(working=-1)
        return leave(lease, *error)

    @event.listens_for(Engine, "commit")
    def committing(_connection: Any) -> None:
        if getattr(completing, "now", False):
            board.hold("inside")

    lifecycle.claim, lifecycle.complete = claims, completes
    LocalStorage.adopt = adopts  # type: ignore[method-assign]
    Lease.__enter__, Lease.__exit__ = entered, left  # type: ignore[method-assign]
    signals.worker_ready.connect(lambda **_: board.ready(), weak=False)


def _poison_decoders() -> None:
    from engine.decoder.process import DecoderProcess

    send = DecoderProcess.send

    def sends(process: DecoderProcess, message: Mapping[str, object]) -> None:
        send(process, message)
        path = message.get("path")
        if isinstance(path, str) and _ends_in_poison(Path(path)):
            time.sleep(POISON_SECONDS)
            os.kill(process.pid, signal.SIGKILL)

    DecoderProcess.send = sends  # type: ignore[assignment,method-assign]


def _ends_in_poison(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - len(POISON)))
        return file.read() == POISON


if __name__ == "__main__":
    main()

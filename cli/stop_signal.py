"""Ctrl-C, asked for politely where something half made has to be removed first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Inside this context SIGINT and SIGTERM raise KeyboardInterrupt; inside `noted` they are only noted, for
    work that asks `requested` at every step. A second one raises everywhere. For the main thread."""

    def __init__(self) -> None:
        self.number: int | None = None
        """Of the signal that came; None so far."""
        self._noting = False
        self._before: dict[signal.Signals, object] = {}

    def requested(self) -> bool:
        return self.number is not None

    @contextmanager
    def noted(self) -> Iterator[None]:
        self._noting = True
        try:
            yield
        finally:
            self._noting = False

    def __enter__(self) -> Self:
        for number in SIGNALS:
            # Started in the background by a shell, or under nohup: whoever did that wants it ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.requested()
        self.number = number
        if again or not self._noting:
            raise KeyboardInterrupt

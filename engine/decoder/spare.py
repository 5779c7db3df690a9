"""One decoder's process started ahead: a song doesn't wait for Python and FFmpeg to load.

It serves one song like all others, and a new one is started when no song is being decoded any more, so that it
takes no memory beside one that runs; or at once, when what runs will soon be followed by another one: a song is
probed before it is decoded, and `lite` listens to it before.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping
from contextlib import suppress

from engine.decoder.process import DecoderProcess


class Spare:
    """Thread-safe. A forked process begins with none, and doesn't want one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: DecoderProcess | None = None
        self._serving: dict[DecoderProcess, bool] = {}
        """Those that run, and whether another one will soon be asked for in their stead."""
        self._wanted = False

    def warm(self) -> None:
        """Have one ready from now on."""
        with self._lock:
            self._wanted = True
            self._refill()

    def cool(self) -> None:
        """End it, and have none from now on."""
        with self._lock:
            self._wanted = False
            process, self._process = self._process, None
        if process is not None:
            process.end()

    def serve(self, request: Mapping[str, object], *, followed: bool = False) -> DecoderProcess:
        """A process that has the request: the spare one, or a new one. It goes back with `end`."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                self._serving[process] = followed
        if process is not None:
            try:
                process.send(request)
            except BrokenPipeError:  # killed while it waited
                self.end(process, refill=False)
            else:
                with self._lock:
                    self._refill()
                return process
        with self._lock:
            process = DecoderProcess()
            self._serving[process] = followed
            self._refill()
        with suppress(BrokenPipeError):  # reading from it tells why it died
            process.send(request)
        return process

    def end(self, process: DecoderProcess, refill: bool = True) -> None:
        process.end()
        with self._lock:
            self._serving.pop(process, None)
            if refill:
                self._refill()

    def after_fork(self) -> None:
        self._lock = threading.Lock()  # the other one may have been held
        inherited = [*self._serving, *([self._process] if self._process is not None else [])]
        self._process, self._serving, self._wanted = None, {}, False
        for process in inherited:  # their pipes, held here, would keep them alive when their owner dies
            process.forget()

    def _refill(self) -> None:
        if (
            not self._wanted
            or not all(self._serving.values())
            or (self._process is not None and not self._process.ended())
        ):
            return
        if self._process is not None:
            self._process.end()
            self._process = None
        with suppress(OSError):  # no process or memory to be had now: the next song tries again
            self._process = DecoderProcess()


spare = Spare()
os.register_at_fork(after_in_child=spare.after_fork)
atexit.register(spare.cool)

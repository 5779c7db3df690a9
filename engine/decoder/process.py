"""The decoder's process, as the side that starts it holds it: two pipes, and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = "import sys; sys.path.extend(sys.argv[1:]); from engine.decoder.child import main; main()"
# -I: neither the working directory nor the environment can lend it modules. -S: what `site` would load, and run on
# behalf of every package that asks for it, takes as long as Python itself.
COMMAND = [sys.executable, "-I", "-S", "-B", "-c", START, str(ROOT), sysconfig.get_path("platlib")]
PIPE_BYTES = 2**20
NOT_ITS_OWN = {signal.SIGTERM, signal.SIGINT}
"""Service managers and terminals send them to every process of a service: one that is told to stop by them may still
need its decoders."""


class DecoderProcess:
    """Started at once; serves one song. It ends with `end`, or by itself when this process does."""

    def __init__(self) -> None:
        with _blocked(NOT_ITS_OWN):
            self._process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
                bufsize=0,
                pipesize=PIPE_BYTES,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self.pid = self._process.pid
        self.pipe = self._stdout.fileno()

    def send(self, message: Mapping[str, object]) -> None:
        """One line, far smaller than the pipe. Raises BrokenPipeError when nobody reads it any more."""
        self._stdin.write(json.dumps(message).encode() + b"\n")

    def ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> int:
        """Its status once it has ended: negative for a signal."""
        return self._process.wait()

    def end(self) -> None:
        """Kill it; nothing of it is left."""
        if self._process.returncode is None:  # afterwards, its number may be another's
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._close()

    def forget(self) -> None:
        """In a forked process: it belongs to another, and lives as long as that one holds its pipes."""
        self._process.returncode = 0
        self._close()

    def _close(self) -> None:
        self._stdin.close()
        self._stdout.close()


@contextmanager
def _blocked(signals: Collection[signal.Signals]) -> Iterator[None]:
    """In this thread, and for good in a process that it starts meanwhile: from that one's first moment on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

"""What is measured runs in a process of its own, which answers with one line of JSON.

Every contender answers alike, see `Answer`, whatever environment its interpreter belongs to.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.memory_use import MemoryWatch, end_tree

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 3600.0


class ChildFailed(Exception):
    """A measured process ended with an error; the message is the end of what it said."""


@dataclass(frozen=True, slots=True)
class Run:
    """One song, from opening the file to its stems on the disk."""

    seconds: float
    cpu_seconds: float
    """Of the process and of its children that ended."""
    song_seconds: float
    """How much of the song was separated."""
    stages: Mapping[str, float] = field(default_factory=dict)
    threads: Mapping[str, float] = field(default_factory=dict)
    """CPU seconds by thread, where they were asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    name: str
    """Of what really ran, with versions."""
    runs: Sequence[Run]
    first_result: float
    """Seconds from the process's start to the first song's stems."""
    note: str = ""
    peak_pss: int | None = None
    """Bytes at most, of the whole tree, where memory was watched."""
    out_of_memory: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


def call(
    command: Sequence[str | Path],
    *,
    watch: bool = False,
    memory_limit: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Answer:
    """Run one contender. `watch` samples its memory, which takes a few percent of its speed; above
    `memory_limit` bytes (only watched ones) it is ended, and the answer says so.

    Raises ChildFailed.
    """
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=errors,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )
        memory = MemoryWatch(process.pid, memory_limit) if watch else None
        try:
            process.wait(TIMEOUT)
        except BaseException:
            end_tree(process.pid)
            process.wait()
            raise
        finally:
            if memory is not None:
                memory.stop()
        peak = memory.peak if memory is not None else None
        if memory is not None and memory.exceeded:
            return Answer("", (), 0.0, peak_pss=peak, out_of_memory=True)
        if process.returncode != 0:
            errors.seek(0)
            end = errors.read().decode(errors="replace").strip().splitlines()[-5:]
            raise ChildFailed(f"{command[0]} … ended with {process.returncode}:\n" + "\n".join(end))
        said.seek(0)
        return parse(said.read().decode(), began, peak)


def parse(said: str, began: float, peak: int | None) -> Answer:
    """The last line is the answer: libraries may have said something before. `began` and the child's
    `first_done` are of the system's one monotonic clock."""
    answer = json.loads(said.strip().splitlines()[-1])
    return Answer(
        name=answer["name"],
        runs=[Run(**run) for run in answer["runs"]],
        first_result=answer["first_done"] - began,
        note=answer.get("note", ""),
        peak_pss=peak,
        more=answer.get("more", {}),
    )

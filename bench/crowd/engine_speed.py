"""The engine by itself on the same songs: as many at once, as many threads, files written, no service around it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from backend.settings import Settings
from bench.child import call
from bench.contenders import DATA


def songs_per_minute(songs: Sequence[Path], settings: Settings) -> float:
    """In a process that has separated some of them before. From opening a file, its counting included, to its stems
    on the disk: what the service does with a song, upload and worker together. Raises ChildFailed."""
    command: list[str | Path] = [sys.executable, "-m", "bench.run_ours", "--model", "lite", "--cache", DATA / "graphs"]
    command += ["--threads", str(settings.threads), "--at-once", str(settings.worker.concurrency), "--runs", "2"]
    warm = call([*command, *songs]).runs[1]
    return 60 * len(songs) / warm.seconds

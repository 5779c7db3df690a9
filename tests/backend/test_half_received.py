"""Songs whose API process was killed while they arrived: hosts with a data folder of their own may have no worker."""

from __future__ import annotations

import os
import time
from pathlib import Path

from backend.storage.base import ABANDONED_SECONDS
from tests.processes import wait_until
from tests.service import MakeService


def test_what_killed_processes_left_goes_after_a_day(make_service: MakeService, tmp_path: Path) -> None:
    rooms = tmp_path / "data" / "incoming" / "api"
    for name in ("old", "new"):
        (rooms / name).mkdir(parents=True)
        (rooms / name / "source").write_bytes(b"half a song")
    long_ago = time.time() - ABANDONED_SECONDS - 1
    os.utime(rooms / "old", (long_ago, long_ago))
    make_service()
    wait_until(lambda: not (rooms / "old").exists(), 10)
    assert (rooms / "new" / "source").exists()

"""A small disk that can be filled: a tmpfs which only this run and what it starts can see.

It takes a mount namespace; a namespace of processes comes with it, so that nothing outlives the run, however it ends.
Root makes them; others need user namespaces. Where neither is allowed the run goes on without this fault and says so.
A tmpfs knows no power cut: what fsync is for is not tested here.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

INSIDE = "CHAOS_WORKSHOP"
DISK_BYTES = 3 * 2**30
"""Of memory, at most; what is not written takes none."""
STEP_BYTES, BLOCK_BYTES = 2**26, 2**12
"""Taken at once, at first and when there is hardly any left."""


def enter() -> tuple[Path, bool]:
    """(a folder for the run, whether `data` in it is a disk of its own). Starts this process anew, once, in a
    namespace with that disk.
    """
    if INSIDE in os.environ:
        return Path(os.environ.pop(INSIDE)), True
    folder = Path(tempfile.mkdtemp(prefix="vr-chaos-"))
    folder.chmod(0o755)  # PostgreSQL runs as somebody else there
    (folder / "data").mkdir()
    unshare = shutil.which("unshare")
    mount = f"mount -t tmpfs -o size={DISK_BYTES},mode=0755 chaos '{folder}/data'"
    again = f'"{sys.executable}" -m bench.chaos "$@"'
    command = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        command = ["--user", "--map-root-user", *command]
        # The inner namespace gives the caller's own number back: PostgreSQL runs as anybody but root.
        again = f"unshare --user --map-user={os.getuid()} {again}"
    tried = unshare and subprocess.run([unshare, *command, "sh", "-c", mount], capture_output=True, check=False)
    if unshare and tried and tried.returncode == 0:
        # The shell stays: it is their init, and takes leave of orphans.
        script = ["sh", "-c", f"{mount} && {again}; exit $?", "chaos", *sys.argv[1:]]
        os.execve(unshare, ["unshare", *command, *script], os.environ | {INSIDE: str(folder)})
    return folder, False


class Disk:
    """The data folder's. `is_own` says whether it may be filled."""

    def __init__(self, folder: Path, is_own: bool) -> None:
        self.is_own = is_own
        self._filler = folder / "filler"

    def fill(self, left: int) -> bool:
        """Leave so many bytes, or fewer. Whether that was done.

        In steps, since one is all or nothing: gigabytes take seconds on a slow machine, in which others write.
        """
        step, taken = STEP_BYTES, 0
        with self._filler.open("wb") as file:
            while step >= BLOCK_BYTES:
                size = min(step, shutil.disk_usage(self._filler.parent).free - left)
                if size <= 0:
                    return True
                try:
                    os.posix_fallocate(file.fileno(), taken, size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        return False
                    step //= 2
                else:
                    taken += size
        return True

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)

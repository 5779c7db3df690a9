"""Where songs and results lie: a folder, addressed by keys that only the server makes.

A file appears under its key whole or not at all: it is written in `incoming/`, synced, then renamed.
Keys are relative POSIX paths such as `output/song/<task>/<attempt>/vocals.wav`.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from uuid import UUID

from backend.identity import new_id

ABANDONED_SECONDS = 24 * 3600
LONGEST_NAME = 80


SAMPLES = "sample"


def sample_key(filename: str) -> str:
    """Of a song of the sample library: one file for everybody, never removed."""
    return f"{SAMPLES}/{filename}"


def upload_key(tenant_id: UUID, upload_id: UUID) -> str:
    return f"uploads/{tenant_id}/{upload_id}/source"


def output_key(source_name: str, task_id: UUID, attempt: int, file: str) -> str:
    return f"{task_key(source_name, task_id)}/{attempt}/{file}"


def task_key(source_name: str, task_id: UUID) -> str:
    """Of everything that a task has written, in all its attempts."""
    return f"output/{safe_name(source_name)}/{task_id}"


def any_task_key(task_id: UUID) -> str:
    """The same of a task whose song's name is not to be written down; found by looking."""
    return f"output/*/{task_id}"


def safe_name(filename: str) -> str:
    """A song's name as a folder's name: letters, digits, `.`, `-`, `_`, in any script, without its suffix."""
    stem = PurePosixPath(unicodedata.normalize("NFC", filename)).stem
    return re.sub(r"[^\w.-]+", "_", stem).strip("._")[:LONGEST_NAME] or "song"


class LocalStorage:
    def __init__(self, root: Path, samples: Path) -> None:
        self.root = root.resolve()
        self.samples = samples.resolve()
        self._shown_root, self._shown_samples = _from_here(self.root), _from_here(self.samples)

    def path(self, key: str) -> Path:
        """Where the file of a key lies, whether or not it is there."""
        first, *rest = PurePosixPath(key).parts
        base, path = (self.samples, Path(*rest)) if first == SAMPLES else (self.root, Path(first, *rest))
        if not (base / path).resolve().is_relative_to(base):
            raise ValueError(f"key outside the storage: {key!r}")
        return base / path

    def shown(self, key: str) -> str:
        """The path as people see it: relative to where the service was started, when it lies below."""
        first, _, rest = key.partition("/")
        return f"{self._shown_samples}/{rest}" if first == SAMPLES else f"{self._shown_root}/{key}"

    @contextmanager
    def incoming(self, owner: str = "api") -> Iterator[Path]:
        """A new folder to write in, on the same file system; what is left in it at the end is removed."""
        folder = self.root / "incoming" / owner / str(new_id())
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def adopt(self, file: Path, key: str) -> None:
        """Move a finished file under its key: synced, then renamed, so it survives a power cut whole."""
        target = self.path(key)
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        while True:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                file.replace(target)
                break
            except FileNotFoundError:
                # Somebody's `delete` may have found the new folder empty; only a missing file is an error.
                if not file.exists():
                    raise
        _sync_folder(target.parent)

    def delete(self, key: str) -> None:
        """Remove a file, or a folder with all it holds, and the folders that this leaves empty."""
        path = self.path(key)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == self.root or not parent.is_relative_to(self.root):
                break
            try:
                parent.rmdir()
            except OSError:
                break

    def attempts(self, source_name: str, task_id: UUID) -> list[int]:
        """Numbers of the attempts of a task that have left files."""
        folder = self.path(task_key(source_name, task_id))
        if not folder.is_dir():
            return []
        return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())

    def clear_incoming(self, owner: str) -> None:
        """Remove what a process of that name left when it was killed; called before it starts again."""
        shutil.rmtree(self.root / "incoming" / owner, ignore_errors=True)

    def remove_abandoned(self) -> None:
        """Remove what killed processes left in `incoming/`, where nobody of their name came after them."""
        for folder in self.root.glob("incoming/*/*"):
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _from_here(folder: Path) -> str:
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Storage in a folder, for one machine or for many that mount the same one.

A file appears under its key whole or not at all: it is written in `incoming/`, synced, then renamed.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from glob import glob
from pathlib import Path, PurePosixPath
from uuid import UUID

from backend.identity import new_id
from backend.storage.base import ABANDONED_SECONDS, CHUNK_BYTES, Stored
from backend.storage.keys import SAMPLES, task_key

log = logging.getLogger(__name__)


class LocalStorage:
    sending = None

    def __init__(self, root: Path, samples: Path) -> None:
        self.root = root.resolve()
        self.samples = samples.resolve()
        self._shown_root, self._shown_samples = _from_here(self.root), _from_here(self.samples)

    def path(self, key: str) -> Path:
        """For storage, tests and tools: where the file of a key lies, whether or not it is there."""
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
            with suppress(OSError):  # gone; or no file handle was left to look into it, and it is empty
                folder.rmdir()

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
        for folder in target.parent.parents:  # some of them may be new
            if not folder.is_relative_to(self.root):
                break
            _sync_folder(folder)

    def delete(self, key: str) -> bool:
        """Remove a file, or a folder with all it holds, and the folders that this leaves empty."""
        path = self.path(key)
        try:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            log.error("%s can't be removed: %s", key, error)
        for parent in path.parents:
            if parent == self.root or not parent.is_relative_to(self.root):
                break
            try:
                parent.rmdir()
            except OSError:
                break
        return not path.exists()

    @contextmanager
    def local(self, key: str, owner: str = "api") -> Iterator[Path]:
        """The file itself. Raises FileNotFoundError."""
        self.size(key)
        yield self.path(key)

    def place(self, key: str) -> Path:
        return self.path(key)

    def size(self, key: str) -> int:
        path = self.path(key)
        if not path.is_file():
            raise FileNotFoundError(key)
        return path.stat().st_size

    def read(self, key: str, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        with self.path(key).open("rb") as file:
            file.seek(start)
            left = self.size(key) - start if size is None else size
            while left > 0 and (chunk := file.read(min(left, CHUNK_BYTES))):
                left -= len(chunk)
                yield chunk

    def link(self, key: str, filename: str, media_type: str) -> None:
        return None

    def listed(self, prefix: str) -> Iterator[Stored]:
        """Every file whose key begins with this folder's, folder by folder."""
        root = self.path(prefix)
        for folder, folders, files in os.walk(root):
            folders.sort()
            for name in sorted(files):
                path = Path(folder, name)
                try:
                    found = path.stat()
                except FileNotFoundError:  # removed meanwhile
                    continue
                modified = datetime.fromtimestamp(found.st_mtime, UTC)
                yield Stored(f"{prefix}/{path.relative_to(root).as_posix()}", found.st_size, modified)

    def folders(self, tasks: Collection[UUID]) -> Iterator[str]:
        for task_id in tasks:
            for path in self.root.glob(f"output/*/{task_id}"):
                yield path.relative_to(self.root).as_posix()

    def attempts(self, source_name: str, task_id: UUID) -> list[int]:
        """Numbers of the attempts of a task that have left files."""
        return sorted(
            int(name) for name in glob("*", root_dir=self.path(task_key(source_name, task_id))) if name.isdigit()
        )

    def clear_incoming(self, owner: str) -> None:
        """Remove what a process of that name left when it was killed; called before it starts again."""
        shutil.rmtree(self.root / "incoming" / owner, ignore_errors=True)

    def remove_abandoned(self) -> None:
        """Remove what killed processes left in `incoming/`, where nobody of their name came after them."""
        for folder in (self.root / name for name in glob("incoming/*/*", root_dir=self.root)):
            with suppress(FileNotFoundError):  # another process was faster
                if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        pass


def _from_here(folder: Path) -> str:
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

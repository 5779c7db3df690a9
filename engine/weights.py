"""Where published weights come from: an operator's folder, the cache, or once from the network.

The cache holds, for each archive, one folder that appears whole or not at all, with a marker in it that
names what was verified. Everything here may run in several processes at once.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from engine.catalog import Archive, ModelSpec
from engine.checkpoint import INDEX_NAME, data_files, read_checkpoint, weights_sha256
from engine.errors import WeightsCorrupt, WeightsUnavailable
from engine.unpack import unpack

if TYPE_CHECKING:
    from engine.download import Progress

MARKER_NAME = "verified.json"
LOCK_SECONDS = 0.5
"""How often is asked whether another one that fetches the same is done."""

logger = logging.getLogger(__name__)


class WeightsStore:
    """Finds weights below `cache` and pulls those that are missing.

    mirror: replaces the part of a published address before the file's name.
    local: folder with `2stems.tar.gz`, or with an unpacked `2stems/`; looked into first.
    timeout: seconds without a byte, to connect or to read, after which an attempt has failed.
    attempts, backoff: how often to try, and seconds before the second try (doubled each time).
    deadline: seconds that one file may take in all.
    """

    def __init__(
        self,
        cache: Path,
        *,
        mirror: str | None = None,
        local: Path | None = None,
        timeout: float = 30.0,
        attempts: int = 5,
        backoff: float = 1.0,
        deadline: float = 3600.0,
    ) -> None:
        self._cache = cache
        self._mirror = mirror
        self._local = local
        self._timeout = timeout
        self._attempts = attempts
        self._backoff = backoff
        self._deadline = deadline

    def ready(self, spec: ModelSpec) -> bool:
        """Whether the model can run now. Reads a marker or two; never the network."""
        return spec.archive is None or self.find(spec) is not None

    def find(self, spec: ModelSpec) -> Path | None:
        """The folder of verified weights, or None: not pulled yet, or a model without an archive."""
        archive = spec.archive
        if archive is None:
            return None
        unpacked = self._local_folder(archive)
        if unpacked is not None:
            return unpacked if _read_marker(self._local_marker(archive)) == _state(unpacked) else None
        folder = self._cache / archive.directory
        verified = _read_marker(folder / MARKER_NAME).get("archive_sha256") == archive.sha256
        return folder if verified and (folder / INDEX_NAME).is_file() else None

    def pull(self, spec: ModelSpec, on_progress: Progress | None = None) -> Path:
        """The folder of verified weights, fetched if need be. Of several callers one fetches, the others
        wait. `on_progress` is called while bytes come, between attempts, and by those who wait; it may raise, to
        give up. Raises WeightsUnavailable (also for a model that has no archive) and WeightsCorrupt."""
        archive = spec.archive
        if archive is None:
            raise WeightsUnavailable(f"The model {spec.id} is part of the service: there is nothing to pull.")
        found = self.find(spec)
        if found is not None:
            return found

        def waiting() -> None:
            if on_progress is not None:
                on_progress(self._arrived(archive), archive.size)

        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            with _locked(self._cache / f"{archive.directory}.lock", waiting):
                return self.find(spec) or self._obtain(archive, on_progress)
        except OSError as error:
            raise WeightsUnavailable(f"The cache {self._cache} can't be used: {error}.") from error

    def take_local(self, spec: ModelSpec) -> bool:
        """Verify what the operator's folder holds of a model, so that it is ready; never the network.

        Whether it is ready now. Raises WeightsCorrupt.
        """
        archive = spec.archive
        if archive is None or self._local is None:
            return self.ready(spec)
        if self._local_folder(archive) is None and not (self._local / _file_name(archive)).is_file():
            return self.ready(spec)
        self.pull(spec)
        return True

    def adopt(self, spec: ModelSpec, folder: Path) -> Path:
        """Take a copy of an unpacked checkpoint into the cache, if it is the published one. Raises WeightsCorrupt, and
        WeightsUnavailable for a model of which that can't be told."""
        archive = spec.archive
        if archive is None or archive.data_sha256 is None:
            raise WeightsUnavailable(f"Unpacked weights of {spec.id} can't be told from others: only its archive can.")

        def copy(staging: Path) -> Path:
            for path in (folder / INDEX_NAME, *data_files(folder)):
                try:
                    shutil.copyfile(path, staging / path.name)
                except FileNotFoundError as error:
                    raise WeightsCorrupt(f"{folder} lacks {path.name}.") from error
            if weights_sha256(staging) != archive.data_sha256:
                raise WeightsCorrupt(f"What lies in {folder} are not the published weights of {spec.id}.")
            return staging

        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            with _locked(self._cache / f"{archive.directory}.lock", lambda: None):
                return self.find(spec) or self._place(archive, copy)
        except OSError as error:
            raise WeightsUnavailable(f"The weights can't be copied to {self._cache}: {error}.") from error

    def _obtain(self, archive: Archive, on_progress: Progress | None) -> Path:
        from engine.download import file_sha256  # its HTTP client is not needed to see what is ready

        unpacked = self._local_folder(archive)
        if unpacked is not None:
            read_checkpoint(unpacked)
            _write_json(self._local_marker(archive), _state(unpacked))
            logger.info("%s: verified the tensors in %s", archive.name, unpacked)
            return unpacked
        packed = self._local / _file_name(archive) if self._local is not None else None
        if packed is not None and packed.is_file():
            if file_sha256(packed) != archive.sha256:
                raise WeightsCorrupt(f"{packed} is not the published archive: SHA-256 {archive.sha256}.")
            return self._install(archive, packed)
        downloaded = self._download(archive, on_progress)
        try:
            return self._install(archive, downloaded)
        finally:
            downloaded.unlink(missing_ok=True)

    def _download(self, archive: Archive, on_progress: Progress | None) -> Path:
        from engine.download import Download, without_credentials

        url = archive.url
        if self._mirror is not None:
            url = f"{self._mirror.rstrip('/')}/{_file_name(archive)}"
        logger.info("%s: fetching %s", archive.name, without_credentials(url))
        return Download(
            url,
            self._cache / f"{archive.directory}.tar.gz",
            sha256=archive.sha256,
            size=archive.size,
            timeout=self._timeout,
            attempts=self._attempts,
            backoff=self._backoff,
            deadline=self._deadline,
        ).run(on_progress)

    def _arrived(self, archive: Archive) -> int:
        """Bytes that whoever fetches it has by now."""
        try:
            return (self._cache / f"{archive.directory}.tar.gz.partial").stat().st_size
        except FileNotFoundError:
            return 0

    def _install(self, archive: Archive, packed: Path) -> Path:
        def unpacked(staging: Path) -> Path:
            unpack(packed, staging)
            indexes = list(staging.rglob(INDEX_NAME))
            if len(indexes) != 1:
                raise WeightsCorrupt(f"{packed.name} holds {len(indexes)} files named {INDEX_NAME}, not one.")
            return indexes[0].parent

        return self._place(archive, unpacked)

    def _place(self, archive: Archive, fill: Callable[[Path], Path]) -> Path:
        """`fill` a folder beside the target and verify every tensor, then rename: the target is whole or absent."""
        target = self._cache / archive.directory
        staging = Path(tempfile.mkdtemp(prefix=f".{archive.directory}-", dir=self._cache))
        try:
            folder = fill(staging)
            read_checkpoint(folder)
            _write_json(folder / MARKER_NAME, {"archive_sha256": archive.sha256})
            folder.chmod(0o755)
            if target.exists():  # of another version, or damaged: nothing in it can be trusted
                shutil.rmtree(target)
            folder.rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        logger.info("%s: verified and placed in %s", archive.name, target)
        return target

    def _local_folder(self, archive: Archive) -> Path | None:
        folder = self._local / archive.directory if self._local is not None else None
        return folder if folder is not None and (folder / INDEX_NAME).is_file() else None

    def _local_marker(self, archive: Archive) -> Path:
        return self._cache / f"{archive.directory}.local.json"


@contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """One holder at a time, over threads and processes; a holder that dies lets go. `waiting` may raise."""
    with path.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                time.sleep(LOCK_SECONDS)
        yield


def _file_name(archive: Archive) -> str:
    return PurePosixPath(urlsplit(archive.url).path).name


def _state(folder: Path) -> dict[str, Any]:
    """What a verified folder of the operator's looked like, so that a changed one is verified again."""
    try:
        files = (folder / INDEX_NAME, *data_files(folder))
        return {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
    except (OSError, WeightsCorrupt):
        return {"": "unreadable"}


def _read_marker(path: Path) -> dict[str, Any]:
    try:
        marker = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as out:
        json.dump(content, out)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)

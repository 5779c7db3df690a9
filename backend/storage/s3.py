"""Storage in a bucket of an S3 server. What is under way lies in a local folder, and so does the sample library.

An object is there when the request that ends it was answered, whole; its parts are nowhere to be seen before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

from backend.probe import Probe
from backend.settings.storage import Storage as Settings
from backend.storage.base import (
    ABANDONED_SECONDS,
    CHUNK_BYTES,
    Sending,
    StorageAway,
    StorageFailed,
    StorageRefused,
    Stored,
)
from backend.storage.keys import PLEDGED, ROOMS, SAMPLES, SENDING, task_key
from backend.storage.local import LocalStorage
from backend.storage.s3_client import DAMAGED, Clients, LooseThreads, answers, reached, refusal, refused
from backend.storage.s3_sending import GRACE_SECONDS, S3Sending

if TYPE_CHECKING:
    from boto3.s3.transfer import S3Transfer, TransferConfig

log = logging.getLogger(__name__)

AT_ONCE = 8
LISTS_WITHIN_SECONDS = 10.0
"""A storage that takes longer to say that nothing lies there is away."""


class S3Storage:
    def __init__(self, settings: Settings, scratch: LocalStorage) -> None:
        self._settings = settings
        self._scratch = scratch
        self._clients = Clients(settings)
        self._bucket, self._prefix = settings.bucket, settings.prefix
        self._lists = Probe("storage", self._list, patience=LISTS_WITHIN_SECONDS, fresh=0)

    @cached_property
    def sending(self) -> Sending | None:
        if not self._settings.links:
            return None
        return S3Sending(self._settings, self._clients, self._fetched, self._transfer)

    def adopt(self, file: Path, key: str) -> None:
        for left in reversed(range(self._settings.attempts)):
            try:
                with self._answers_for(f"storing {key}"), self._sender() as sender:
                    sender.upload_file(str(file), self._bucket, self._prefix + key)
                break
            except StorageAway as error:
                if not left or refusal(error) not in DAMAGED:
                    raise
        file.unlink()

    def local(self, key: str, owner: str = "api") -> AbstractContextManager[Path]:
        return self._scratch.local(key) if _is_sample(key) else self._fetched(key, owner=owner)

    def place(self, key: str) -> Path | None:
        return self._scratch.place(key) if _is_sample(key) else None

    def size(self, key: str) -> int:
        if _is_sample(key):
            return self._scratch.size(key)
        with self._answers_for(f"looking for {key}"):
            return self._clients.ours.head_object(Bucket=self._bucket, Key=self._prefix + key)["ContentLength"]

    def read(self, key: str, start: int = 0, size: int | None = None, version: str | None = None) -> Iterator[bytes]:
        """Goes on where a connection broke, with the same object: one that was replaced raises FileNotFoundError."""
        if _is_sample(key):
            yield from self._scratch.read(key, start, size)
            return
        end = self.size(key) if size is None else start + size
        same: dict[str, Any] = {} if version is None else {"IfMatch": version}
        failures = 0
        while start < end:
            before = start
            with self._answers_for(f"reading {key}"):  # tried again by the client
                got = self._clients.ours.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, Range=f"bytes={start}-{end - 1}", **same
                )
            same = {"IfMatch": got["ETag"]}
            end = min(end, int(got["ContentRange"].rpartition("/")[2]))
            try:
                with answers(f"reading {key}"), closing(got["Body"]) as body:
                    for chunk in body.iter_chunks(CHUNK_BYTES):
                        start += len(chunk)
                        yield chunk
            except StorageAway as away:
                failures = 0 if start > before else failures + 1
                if failures >= self._settings.attempts:
                    raise self._meant(away) from away.__cause__

    def link(self, key: str, filename: str, media_type: str) -> str | None:
        if not self._settings.links or _is_sample(key):
            return None
        asked = {
            "Bucket": self._bucket,
            "Key": self._prefix + key,
            "ResponseContentType": media_type,
            "ResponseContentDisposition": f"attachment; filename*=utf-8''{quote(filename)}",
        }
        with answers(f"signing a link to {key}"):
            return self._clients.theirs.generate_presigned_url(
                "get_object", Params=asked, ExpiresIn=self._settings.link_seconds
            )

    def listed(self, prefix: str) -> Iterator[Stored]:
        """In the order of their keys, a thousand in memory."""
        with answers(f"listing {prefix}"):
            pages = self._clients.ours.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}{prefix}/"):
                for entry in page.get("Contents", ()):
                    key = entry["Key"].removeprefix(self._prefix)
                    yield Stored(key, entry["Size"], entry["LastModified"].astimezone(UTC))

    def folders(self, tasks: Collection[UUID]) -> Iterator[str]:
        wanted, latest = {str(task_id) for task_id in tasks}, ""
        for stored in self.listed("output"):
            folder = "/".join(stored.key.split("/")[:3])
            if folder != latest and folder.rpartition("/")[2] in wanted:
                yield folder
            latest = folder

    def delete(self, key: str) -> bool:
        if _is_sample(key):
            return False
        try:
            # One by one: the server's request for many wants checksums that servers don't agree about.
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(self._delete, (stored.key for stored in self.listed(key))))
            self._delete(key)
            if key.partition("/")[0] == SENDING:
                self._end_begun(f"{key}/", lambda *_: True)
        except (StorageAway, OSError):
            log.error("%s may still be in the storage", key)
            return False
        return True

    def attempts(self, source_name: str, task_id: UUID) -> list[int]:
        folder = f"{self._prefix}{task_key(source_name, task_id)}/"
        with answers(f"listing attempts of {task_id}"):
            pages = self._clients.ours.get_paginator("list_objects_v2")
            found = pages.paginate(Bucket=self._bucket, Prefix=folder, Delimiter="/")
            names = [each["Prefix"][len(folder) : -1] for page in found for each in page.get("CommonPrefixes", ())]
        return sorted(int(name) for name in names if name.isdigit())

    def shown(self, key: str) -> str:
        return self._scratch.shown(key) if _is_sample(key) else f"s3://{self._bucket}/{self._prefix}{key}"

    def incoming(self, owner: str = "api") -> AbstractContextManager[Path]:
        return self._scratch.incoming(owner)

    def clear_incoming(self, owner: str) -> None:
        self._scratch.clear_incoming(owner)

    def remove_abandoned(self) -> None:
        """Local folders, what was sent and never looked at, and parts of objects that were never ended."""
        self._scratch.remove_abandoned()
        now = datetime.now(UTC)
        ours = now - timedelta(seconds=ABANDONED_SECONDS)
        theirs = now - timedelta(seconds=self._settings.upload_link_seconds + GRACE_SECONDS)
        for room in (SENDING, PLEDGED):
            for stored in self.listed(room):
                if stored.modified < theirs:
                    self._delete(stored.key)
        self._end_begun("", lambda room, at: room in ROOMS and at < (theirs if room == SENDING else ours))

    def close(self) -> None:
        self._clients.close()

    def _end_begun(self, below: str, is_due: Callable[[str, datetime], bool]) -> None:
        """Remove the parts of objects that were begun: `is_due` is told their room and when."""
        try:
            with answers("listing what was never ended"):
                pages = self._clients.ours.get_paginator("list_multipart_uploads")
                for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + below):
                    for begun in page.get("Uploads", ()):
                        room = begun["Key"].removeprefix(self._prefix).partition("/")[0]
                        if is_due(room, begun["Initiated"]):
                            self._clients.ours.abort_multipart_upload(
                                Bucket=self._bucket, Key=begun["Key"], UploadId=begun["UploadId"]
                            )
        except FileNotFoundError:  # another host was faster; what is left has its next turn
            return
        except StorageAway as error:
            if refusal(error) != "NotImplemented":
                raise

    @cached_property
    def _transfer(self) -> TransferConfig:
        from boto3.s3.transfer import TransferConfig

        size = self._settings.part_bytes
        return TransferConfig(multipart_threshold=size, multipart_chunksize=size, max_concurrency=4)

    def _sender(self) -> S3Transfer:
        from boto3.s3.transfer import S3Transfer
        from s3transfer.manager import TransferManager

        return S3Transfer(manager=TransferManager(self._clients.ours, self._transfer, executor_cls=LooseThreads))

    @contextmanager
    def _fetched(self, key: str, version: str | None = None, owner: str = "api") -> Iterator[Path]:
        with self._scratch.incoming(owner) as folder:
            file, size = folder / "file", self.size(key)
            with file.open("wb") as writing:
                for chunk in self.read(key, 0, size, version):
                    writing.write(chunk)
            yield file

    @contextmanager
    def _answers_for(self, what: str) -> Iterator[None]:
        """Around a request for one file. Raises what `answers` does, and what `_meant` says."""
        try:
            with answers(what):
                yield
        except (StorageAway, FileNotFoundError) as error:
            raise self._meant(error) from error.__cause__

    def _meant(self, error: StorageAway | FileNotFoundError) -> Exception:
        """Trouble with this file alone, where another request gets an answer; else the storage is away. A key that is
        wrong or too old is refused everywhere, a bucket that is gone lacks every file, and some requests for a file
        aren't told why."""
        if not reached(error) or self._lists.failure() is not None:
            return StorageAway()
        if isinstance(error, FileNotFoundError):
            return error
        return StorageRefused() if refused(error) else StorageFailed()

    def _list(self) -> None:
        next(self.listed("ready"), None)  # nothing lies there, but somebody has to answer

    def _delete(self, key: str) -> None:
        # Some servers say 404 to who deletes what is gone.
        with suppress(FileNotFoundError), answers(f"deleting {key}"):
            self._clients.ours.delete_object(Bucket=self._bucket, Key=self._prefix + key)


def _is_sample(key: str) -> bool:
    return key.partition("/")[0] == SAMPLES

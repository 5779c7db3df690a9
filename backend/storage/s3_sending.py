"""Songs that clients send to an S3 server themselves, by links that we sign.

One PUT, or one for each part of a large file. Each link is good for exactly so many bytes, and a whole file's for
exactly that hash, where the server knows such headers; what came of it is looked at all the same.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from backend.settings.storage import Storage as Settings
from backend.storage.base import Arrived, Part, WrongSize
from backend.storage.s3_client import Clients, answers

if TYPE_CHECKING:
    from boto3.s3.transfer import TransferConfig
    from types_boto3_s3.type_defs import CompletedPartTypeDef

MIB = 1 << 20
MOST_PARTS = 1000
GRACE_SECONDS = 3600
"""How long after its links expire a song may still be looked at."""


class S3Sending:
    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        fetched: Callable[[str, str | None], AbstractContextManager[Path]],
        transfer: TransferConfig,
    ) -> None:
        self._settings, self._clients = settings, clients
        self._fetched, self._transfer = fetched, transfer

    def offer(self, place: str, size: int, sha256: str) -> tuple[str, list[Part]]:
        if size <= self._settings.part_bytes:
            return "", [self._whole(place, size, sha256)]
        most = -(-size // MOST_PARTS)
        step = max(self._settings.part_bytes, -(-most // MIB) * MIB)
        with answers(f"opening {place}"):
            word = self._clients.ours.create_multipart_upload(**self._at(place))["UploadId"]
        starts = range(0, size, step)
        return word, [self._part(place, word, n, at, min(step, size - at)) for n, at in enumerate(starts, 1)]

    @contextmanager
    def arrived(self, place: str, word: str, size: int) -> Iterator[Arrived]:
        if word:
            self._join(place, word, size)
        with answers(f"looking for {place}"):
            head = self._clients.ours.head_object(**self._at(place))
        if head["ContentLength"] != size:
            raise WrongSize(head["ContentLength"])
        with self._fetched(place, head["ETag"]) as file:
            yield Arrived(file, head["ETag"])

    def keep(self, place: str, version: str, key: str) -> None:
        # The client's, not ours to copy by hand: above 5 GB it takes a request for each part.
        source = self._at(place)
        with answers(f"keeping {key}"):
            self._clients.ours.copy(
                {"Bucket": source["Bucket"], "Key": source["Key"]},
                **self._at(key),
                ExtraArgs={"CopySourceIfMatch": version},
                Config=self._transfer,
            )

    def withdraw(self, place: str, word: str) -> None:
        if word:
            with suppress(FileNotFoundError), answers(f"giving up {place}"):  # it was joined
                self._clients.ours.abort_multipart_upload(**self._at(place), UploadId=word)
        with suppress(FileNotFoundError), answers(f"withdrawing {place}"):
            self._clients.ours.delete_object(**self._at(place))

    def _join(self, place: str, word: str, size: int) -> None:
        """Make one object of its parts, once all are there."""
        found = 0
        parts: list[CompletedPartTypeDef] = []
        try:
            with answers(f"listing parts of {place}"):
                pages = self._clients.ours.get_paginator("list_parts")
                for page in pages.paginate(**self._at(place), UploadId=word):
                    for part in page.get("Parts", ()):
                        found += part["Size"]
                        parts.append({"PartNumber": part["PartNumber"], "ETag": part["ETag"]})
        except FileNotFoundError:  # joined before, by a request whose answer was lost
            return
        if found < size:
            raise FileNotFoundError(place)
        with answers(f"joining {place}"):
            self._clients.ours.complete_multipart_upload(
                **self._at(place), UploadId=word, MultipartUpload={"Parts": parts}
            )

    def _whole(self, place: str, size: int, sha256: str) -> Part:
        checksum = b64encode(bytes.fromhex(sha256)).decode()
        asked = {**self._at(place), "ContentLength": size, "ChecksumSHA256": checksum}
        with answers(f"signing a link to {place}"):
            url = self._clients.theirs.generate_presigned_url(
                "put_object", Params=asked, ExpiresIn=self._settings.upload_link_seconds
            )
        return Part(url, {"x-amz-checksum-sha256": checksum}, 0, size)

    def _part(self, place: str, word: str, number: int, start: int, size: int) -> Part:
        asked = {**self._at(place), "UploadId": word, "PartNumber": number, "ContentLength": size}
        with answers(f"signing a link to {place}"):
            url = self._clients.theirs.generate_presigned_url(
                "upload_part", Params=asked, ExpiresIn=self._settings.upload_link_seconds
            )
        return Part(url, {}, start, size)

    def _at(self, key: str) -> _At:
        return {"Bucket": self._settings.bucket, "Key": self._settings.prefix + key}


class _At(TypedDict):
    Bucket: str
    Key: str

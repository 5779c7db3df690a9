"""Storage that goes away, lies, or dies in the middle: never half a file, and never a file that is another."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.settings import Settings
from backend.storage import LocalStorage, Storage, StorageAway, StorageFailed, StorageRefused, open_storage, s3
from tests.backend.test_storage import MIB, keys, put
from tests.client.faulty_way import FaultyWay, cut_answer, cut_request, faulty_way, lose_answer, refuse, spoil_request
from tests.s3.fixtures import S3Server
from tests.workers.test_resources import limited
from workers.failures import reason


def opened(folder: Path, settings: dict[str, Any], **more: Any) -> Storage:
    values = settings | {"timeout_seconds": 5} | more
    return open_storage(Settings(_env_file=None, data_dir=folder, storage=values))  # type: ignore[arg-type]


@pytest.fixture
def way(s3_server: S3Server) -> Iterator[FaultyWay]:
    with faulty_way(s3_server.url, keeps_host=True) as way:
        yield way


@pytest.fixture
def storage(way: FaultyWay, s3_settings: dict[str, Any], tmp_path: Path) -> Storage:
    """On a server behind a bad connection."""
    return opened(tmp_path, s3_settings, endpoint=way.url, part_bytes=5 * MIB)


@pytest.mark.parametrize("size", [1000, 11 * MIB])
def test_a_bit_that_turned_on_the_way_is_refused_and_sent_again(storage: Storage, way: FaultyWay, size: int) -> None:
    content = os.urandom(size)
    way.on("^PUT", spoil_request)
    put(storage, "output/song/1/a.wav", content)
    assert way.count("^PUT") > -(-size // (5 * MIB))
    assert b"".join(storage.read("output/song/1/a.wav")) == content


def test_a_server_that_stumbles_is_asked_again(storage: Storage, way: FaultyWay) -> None:
    way.on("^PUT", refuse(503), lose_answer)
    put(storage, "output/song/1/a.wav", b"content")
    way.on("^GET", cut_request, refuse(500))
    assert keys(storage, "output") == ["output/song/1/a.wav"]


def test_reading_goes_on_where_it_was_cut(storage: Storage, way: FaultyWay) -> None:
    content = os.urandom(2 * MIB)
    put(storage, "output/song/1/a.wav", content)
    way.on("^GET", *(cut_answer(MIB // 2),) * 2)
    with storage.local("output/song/1/a.wav") as path:
        assert path.read_bytes() == content
    ranges = [asked.headers["range"] for asked in way.requests("^GET")]
    assert ranges[0] == f"bytes=0-{2 * MIB - 1}" and len(ranges) == 3 and len(set(ranges)) == 3


def test_reading_never_mixes_two_files(storage: Storage, way: FaultyWay) -> None:
    put(storage, "output/song/1/a.wav", b"a" * MIB)
    pieces = storage.read("output/song/1/a.wav")
    way.on("^GET", cut_answer(MIB // 2))
    next(pieces)
    put(storage, "output/song/1/a.wav", b"b" * MIB)
    with pytest.raises(FileNotFoundError):
        list(pieces)


def test_a_large_file_that_can_t_be_sent_leaves_no_parts(storage: Storage, way: FaultyWay, s3_server: S3Server) -> None:
    way.on("^PUT.*partNumber=2", *(refuse(500),) * 9)
    with pytest.raises(StorageAway):
        put(storage, "output/song/1/a.wav", os.urandom(11 * MIB))
    assert way.count("^DELETE.*uploadId") == 1
    assert keys(storage, "output") == []


def test_wrong_keys_and_wrong_buckets(s3_settings: dict[str, Any], tmp_path: Path, caplog: Any) -> None:
    for wrong in ({"secret_key": "not-it"}, {"access_key": "test:nobody"}, {"url": "s3://no-such-bucket/songs"}):
        storage = opened(tmp_path, s3_settings, **wrong)
        with pytest.raises(StorageAway):
            put(storage, "output/song/1/a.wav")
        with pytest.raises(StorageAway):  # in a bucket that is not there no file is missing
            storage.size("output/song/1/a.wav")
        with pytest.raises(StorageAway):
            list(storage.read("output/song/1/a.wav", 0, 7))
        assert storage.delete("output/song") is False
    said = caplog.text
    assert "SignatureDoesNotMatch" in said and "NoSuchBucket" in said
    assert "not-it" not in said and s3_settings["secret_key"] not in said


def test_one_file_that_is_refused(storage: Storage, way: FaultyWay) -> None:
    key = "output/song/1/a.wav"
    put(storage, key)
    for method, ask in (
        ("HEAD", lambda: storage.size(key)),
        ("GET", lambda: list(storage.read(key, 0, 7))),
        ("PUT", lambda: put(storage, key)),
    ):
        way.on(f"^{method}.*{key}", refuse(403))
        with pytest.raises(StorageRefused):
            ask()
        assert way.count(f"^{method}.*{key}") == (2 if method == "PUT" else 1), "it would say no again"
    way.on("^GET", refuse(403), refuse(403))
    with pytest.raises(StorageAway) as away:
        list(storage.read(key, 0, 7))
    assert not isinstance(away.value, StorageRefused), "nothing else is answered"
    assert b"".join(storage.read(key)) == b"content"


def test_one_file_with_which_the_server_fails(s3_settings: dict[str, Any], way: FaultyWay, tmp_path: Path) -> None:
    storage = opened(tmp_path, s3_settings, endpoint=way.url, attempts=1)
    key = "output/song/1/a.wav"
    put(storage, key)
    for method, fault, ask in (
        ("HEAD", refuse(500), lambda: storage.size(key)),
        ("GET", refuse(503), lambda: list(storage.read(key, 0, 7))),
        ("GET", cut_answer(0), lambda: list(storage.read(key, 0, 7))),
        ("GET", cut_request, lambda: list(storage.read(key, 0, 7))),
        ("PUT", refuse(504), lambda: put(storage, key)),
        ("PUT", refuse(409), lambda: put(storage, key)),
    ):
        way.on(f"^{method}.*{key}", fault, fault)
        with pytest.raises(StorageFailed):
            ask()
    way.on("^GET", refuse(503), refuse(503))
    with pytest.raises(StorageAway) as away:
        list(storage.read(key, 0, 7))
    assert away.type is StorageAway, "nothing else is answered"


def test_a_machine_without_handles_is_no_storage_away(storage: Storage) -> None:
    key = "output/song/1/a.wav"
    put(storage, key)
    with storage.incoming() as folder:
        (folder / "file").write_bytes(b"content")
        storage.close()  # what comes next opens a connection
        with limited(resource.RLIMIT_NOFILE, next_handle()):
            for ask in (
                lambda: storage.size(key),
                lambda: list(storage.read(key, 0, 7)),
                lambda: list(storage.listed("output")),
                lambda: storage.adopt(folder / "file", key),
            ):
                with pytest.raises(OSError, match="Too many open files") as lacking:
                    ask()
                assert lacking.value.errno == errno.EMFILE
                assert reason(lacking.value)[0] == "too_many_open_files"
            assert storage.delete(key) is False
        assert storage.size(key) == 7


def next_handle() -> int:
    handle = os.open("/", os.O_RDONLY)
    os.close(handle)
    return handle


def test_a_server_that_hangs_dies_and_comes_back(own_s3_server: S3Server, tmp_path: Path) -> None:
    settings = own_s3_server.settings() | {"attempts": 2}
    storage, hasty = (opened(tmp_path, settings, timeout_seconds=seconds) for seconds in (30, 0.5))
    put(storage, "output/song/1/a.wav", b"content")
    own_s3_server.send(signal.SIGSTOP)
    with pytest.raises(StorageAway) as away:
        hasty.size("output/song/1/a.wav")
    assert away.type is StorageAway
    own_s3_server.send(signal.SIGCONT)
    assert storage.size("output/song/1/a.wav") == 7
    own_s3_server.stop()
    for ask in (
        lambda: storage.size("output/song/1/a.wav"),
        lambda: list(storage.read("output/song/1/a.wav", 0, 7)),
        lambda: list(storage.listed("output")),
        lambda: put(storage, "output/song/2/a.wav"),
    ):
        with pytest.raises(StorageAway):
            ask()
    own_s3_server.start()
    assert b"".join(storage.read("output/song/1/a.wav")) == b"content"


def test_what_nobody_ended_is_removed(
    s3_settings: dict[str, Any], s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = opened(tmp_path, s3_settings, upload_link_seconds=1, part_bytes=5 * MIB)
    client, bucket = s3_server.client(), s3_settings["url"].split("/")[2]
    client.create_multipart_upload(Bucket=bucket, Key="music/songs/output/song/1/a.wav")
    client.create_multipart_upload(Bucket=bucket, Key="others/file")
    assert storage.sending is not None
    storage.sending.offer("sending/tenant/large", 6 * MIB, "0" * 64)
    put(storage, "sending/tenant/small")
    put(storage, "output/song/2/a.wav")

    def begun() -> set[str]:
        found = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return {each["Key"].removeprefix("music/songs/") for each in found}

    storage.remove_abandoned()
    assert begun() == {"output/song/1/a.wav", "sending/tenant/large", "others/file"}
    monkeypatch.setattr(s3, "GRACE_SECONDS", -1)
    time.sleep(2)
    storage.remove_abandoned()
    assert begun() == {"output/song/1/a.wav", "others/file"} and keys(storage, "sending") == []
    monkeypatch.setattr(s3, "ABANDONED_SECONDS", 0)
    storage.remove_abandoned()
    assert begun() == {"others/file"}, "what others keep in the bucket is theirs"
    client.create_multipart_upload(Bucket=bucket, Key="output/song/1/a.wav")
    time.sleep(2)  # its time is told in seconds
    opened(tmp_path, s3_settings, url=f"s3://{bucket}").remove_abandoned()
    assert begun() == {"others/file"}, "also for a service that has no prefix of its own"
    assert keys(storage, "output") == ["output/song/2/a.wav"]


@pytest.mark.parametrize("thing", ["file", "sent"])
def test_what_is_gone_already_may_be_deleted(storage: Storage, way: FaultyWay, thing: str) -> None:
    """Some servers say 404 then."""
    put(storage, "sending/tenant/song")
    way.on("^DELETE", *(refuse(404),) * 2)
    if thing == "file":
        assert storage.delete("sending/tenant/song")
    else:
        assert storage.sending is not None
        storage.sending.withdraw("sending/tenant/song", "")
    assert way.count("^DELETE") >= 1


def test_new_folders_are_on_the_disk_when_their_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(tmp_path, tmp_path)
    sync, synced = os.fsync, set()

    def note(handle: int) -> None:
        synced.add(Path(os.readlink(f"/proc/self/fd/{handle}")))
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    put(storage, "output/song/1/a.wav")
    assert synced >= {tmp_path, *(tmp_path / name for name in ("output", "output/song", "output/song/1"))}


@pytest.mark.parametrize("nth", range(16))
def test_a_disk_that_fails_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """The Nth of what the system is asked for fails: the file is there whole, or not at all; the old one stays."""
    storage = LocalStorage(tmp_path, tmp_path)
    key = "output/song/1/a.wav"
    steps = 0

    def failing(call: Any) -> Any:
        def maybe(*args: Any, **more: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == nth + 1:
                raise OSError(errno.EIO, "Input/output error")
            return call(*args, **more)

        return maybe

    with storage.incoming() as folder:
        (folder / "file").write_bytes(b"whole")
        with monkeypatch.context() as broken:
            for module, name in ((os, "fsync"), (os, "mkdir"), (os, "replace"), (os, "open")):
                broken.setattr(module, name, failing(getattr(module, name)))
            try:
                storage.adopt(folder / "file", key)
                done = True
            except OSError:
                done = False
    found = [stored.size for stored in storage.listed("output")]
    assert found in ([5], []) and (found == [5] or not done)
    assert not list((tmp_path / "incoming").glob("*/*"))

"""What every storage does, in a folder and on an S3 server."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backend.settings import Settings
from backend.storage import Storage, open_storage, parts_key, sample_key, task_key
from backend.storage.local import LocalStorage

MIB = 1 << 20
SONG = "Đường về (live) #1.mp3"


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    settings: dict[str, Any] = {}
    if request.param == "s3":
        settings = request.getfixturevalue("s3_settings") | {"part_bytes": 5 * MIB}
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "song.mp3").write_bytes(b"a sample")
    return open_storage(
        Settings(_env_file=None, data_dir=tmp_path / "data", sample_dir=tmp_path / "sample", storage=settings)  # type: ignore[arg-type]
    )


def put(storage: Storage, key: str, content: bytes = b"content") -> None:
    with storage.incoming() as folder:
        file = folder / "file"
        file.write_bytes(content)
        storage.adopt(file, key)
        assert not file.exists()


def keys(storage: Storage, prefix: str) -> list[str]:
    return sorted(stored.key for stored in storage.listed(prefix))


@pytest.mark.parametrize("size", [1, 5 * MIB, 12 * MIB + 1])
def test_a_file_is_what_was_put_there(storage: Storage, size: int) -> None:
    content, key = os.urandom(size), f"{task_key(SONG, uuid4())}/1/vocals.wav"
    put(storage, key, b"what was there before")
    put(storage, key, content)
    assert storage.size(key) == size
    assert b"".join(storage.read(key)) == content
    assert b"".join(storage.read(key, size // 2, 1000)) == content[size // 2 :][:1000]
    with storage.local(key) as path:
        assert path.read_bytes() == content
    (stored,) = storage.listed("output")
    assert (stored.key, stored.size) == (key, size)
    assert abs(stored.modified - datetime.now(UTC)) < timedelta(minutes=5)


def test_what_is_not_there(storage: Storage) -> None:
    for ask in (storage.size, lambda key: list(storage.read(key)), lambda key: storage.local(key).__enter__()):
        with pytest.raises(FileNotFoundError):
            ask("output/song/nothing")
    assert storage.delete("output/song") and keys(storage, "output") == []
    assert storage.attempts("song.mp3", uuid4()) == []


def test_deleting_takes_a_folder_and_nothing_beside_it(storage: Storage) -> None:
    task, other = uuid4(), uuid4()
    for attempt in (1, 2, 11):
        for stem in ("vocals", "accompaniment"):
            put(storage, f"{task_key(SONG, task)}/{attempt}/{stem}.wav")
    for patch in range(3):
        put(storage, parts_key(SONG, task, "a" * 8, patch))
    put(storage, f"{task_key(SONG, task)}0/1/vocals.wav")  # a key that begins alike
    put(storage, f"{task_key(SONG, other)}/1/vocals.wav")
    assert storage.attempts(SONG, task) == [1, 2, 11]
    assert sorted(storage.folders({task, other, uuid4()})) == sorted(task_key(SONG, each) for each in (task, other))
    assert storage.delete(f"{task_key(SONG, task)}/1")
    assert storage.attempts(SONG, task) == [2, 11]
    assert storage.delete(parts_key(SONG, task))
    assert len(keys(storage, task_key(SONG, task))) == 4
    assert storage.delete(task_key(SONG, task))
    assert keys(storage, "output") == sorted(
        (f"{task_key(SONG, task)}0/1/vocals.wav", f"{task_key(SONG, other)}/1/vocals.wav")
    )


def test_samples_are_read_where_they_lie(storage: Storage) -> None:
    key = sample_key("song.mp3")
    assert storage.size(key) == 8 and b"".join(storage.read(key, 2)) == b"sample"
    with storage.local(key) as path:
        assert path.read_bytes() == b"a sample" and path.parent.name == "sample"
    assert storage.link(key, "song.mp3", "audio/mpeg") is None


def test_what_goes_away_while_the_abandoned_are_looked_for_is_nobodys_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that starts clears its own folder just then."""
    storage, incoming, look = LocalStorage(tmp_path, tmp_path), tmp_path / "incoming", os.scandir

    def too_late(path: str) -> Any:
        if Path(path).parent == incoming:
            Path(path).rename(tmp_path / "gone")
        return look(path)

    (incoming / "worker1" / "id").mkdir(parents=True)
    monkeypatch.setattr(os, "scandir", too_late)
    storage.remove_abandoned()
    assert (tmp_path / "gone" / "id").exists()

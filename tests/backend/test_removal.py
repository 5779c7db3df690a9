"""Files that are removed for requests, from a storage that takes its time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from backend import removal
from backend.storage import LocalStorage
from tests.backend.test_storage import keys, put
from tests.workers.test_life_of_a_task import wait_for


def test_no_request_waits_long_until_files_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do threads pile up where a storage hangs."""
    storage, comes_back, tried = LocalStorage(tmp_path, tmp_path), threading.Event(), []
    put(storage, "output/song/1/a.wav")
    delete = LocalStorage.delete

    def hang(self: LocalStorage, key: str) -> bool:
        tried.append(key)
        assert comes_back.wait(60)
        return delete(self, key)

    monkeypatch.setattr(LocalStorage, "delete", hang)
    monkeypatch.setattr(removal, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(removal, "_free", threading.BoundedSemaphore(2))
    assert not any(removal.remove_soon(storage, [f"output/song/{number}"]) for number in (1, 2, 3))
    assert tried == ["output/song/1", "output/song/2"], "the third is left to the check for orphans"
    comes_back.set()
    wait_for(lambda: keys(storage, "output") == [])
    wait_for(lambda: removal.remove_soon(storage, ["output/song/3"]))

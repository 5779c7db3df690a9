"""A backup made while the service is at work, restored elsewhere: nothing is missing, and work goes on."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from backend import db
from backend.backup import manifest
from backend.backup import service as backups
from backend.backup.database import BackupFailed
from backend.backup.manifest import NoBackup
from backend.db import Database
from backend.storage import Storage
from backend.wiring import wire
from cli.service_lock import ServiceLock
from migrations.prepare import prepare
from tests.processes import Cluster, wait_until
from tests.s3.fixtures import S3Server, environment
from tests.servers import _database, _sqlalchemy, empty_settings, on_both
from tests.service import InProcess, MakeService, Person


@contextmanager
def elsewhere(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Address of an empty database of the same kind."""
    if "sqlite" in request.node.callspec.id:
        yield f"sqlite:///{folder / 'elsewhere' / 'restored.db'}"
    else:
        server = request.getfixturevalue("postgres_server")
        with _database(server) as name:
            yield _sqlalchemy(server, name)


class Load:
    """Somebody who sends, orders and deletes all the time, for as long as the block lasts."""

    def __init__(self, person: Person, song: Path) -> None:
        self._person, self._song = person, song
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(2)
        self.turns = 0

    def __enter__(self) -> Load:
        self._futures = [self._pool.submit(self._go_on, number) for number in range(2)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for future in self._futures:
            future.result()

    def _go_on(self, number: int) -> None:
        for turn in itertools.count():
            if self._stop.is_set():
                return
            content = self._song.read_bytes() + f"{number} {turn}".encode()
            upload_id = self._person.send(content, f"{number}-{turn}.mp3").json()["id"]
            if turn % 2:
                assert self._person.delete(f"/uploads/{upload_id}").is_success
            elif turn < 6:
                answer = self._person.post("/separate", {"upload_id": upload_id, "model": "lite"})
                assert answer.status_code in (202, 402), answer.text
            self.turns += 1


@on_both
@pytest.mark.timeout(600)
def test_under_load_and_back(request: pytest.FixtureRequest, database_url: str, tmp_path: Path, warmup: Path) -> None:
    folder = tmp_path / "backup"
    with Cluster(tmp_path, VR_DB__URL=database_url) as cluster:
        person = cluster.login()
        done = person.submit(person.send(warmup).json()["id"], model="lite")
        cluster.finished(person, done)
        stem = person.get(f"/tasks/{done}/stems/vocals").content
        with Load(person, warmup) as load:
            wait_until(lambda: load.turns >= 6)
            made = cluster.command("backup", str(folder))
            after = load.turns
        assert made.returncode == 0, made.stderr
        assert load.turns >= after
        again = cluster.command("backup", str(folder))
        assert again.returncode == 1 and "not empty" in again.stderr
        refused = cluster.command("restore", str(folder))
        assert refused.returncode == 1 and "not empty" in refused.stderr, refused.stderr
    said = manifest.read(folder)
    assert said.files >= 3 and said.rows["task"] >= 1 and said.lacking == said.ledger == []
    assert oct(folder.stat().st_mode)[-3:] == "700"

    with elsewhere(request, tmp_path) as url:
        there = Cluster(tmp_path / "elsewhere", VR_DB__URL=url)
        there.data_dir.parent.mkdir(exist_ok=True)
        restored = there.command("restore", str(folder))
        assert restored.returncode == 0, restored.stderr
        assert "every row has its file" in restored.stdout
        assert there.command("ledger", "verify").returncode == 0
        checked = there.command("storage", "check", "--hash")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        with there:
            person = there.login()
            tasks = person.get("/history").json()
            ids = [task["task_id"] for task in tasks]
            assert done in ids and len(ids) == said.rows["task"]
            for task_id in ids:  # what was queued or at work goes on
                assert there.finished(person, task_id)["status"] == "completed"
            assert person.get(f"/tasks/{done}/stems/vocals").content == stem
            new = person.submit(person.send(warmup).json()["id"], model="lite")
            assert there.finished(person, new)["status"] == "completed"
            assert person.money()[1] == 0
            assert there.command("ledger", "verify").returncode == 0


@pytest.fixture
def backup(service: InProcess, demo: Person, warmup: Path, tmp_path: Path) -> Path:
    demo.send(warmup)
    folder = tmp_path / "backup"
    backups.back_up(service.wiring.database, service.wiring.storage, folder)
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "files").rglob("*") if path.is_file())


def test_each_file_is_what_its_row_says(backup: Path, warmup: Path) -> None:
    [song] = files(backup)
    digest = hashlib.sha256(warmup.read_bytes()).hexdigest()
    assert hashlib.sha256(song.read_bytes()).hexdigest() == digest
    assert json.loads((backup / "files.jsonl").read_text("utf-8"))["sha256"] == digest


def test_a_file_that_the_storage_lacks_is_said_and_the_rest_is_kept(
    service: InProcess, demo: Person, warmup: Path, tmp_path: Path
) -> None:
    demo.send(warmup)
    lost = demo.send(warmup.read_bytes() + b"other").json()["id"]
    key = f"uploads/{service.scope(demo).tenant_id}/{lost}/source"
    service.wiring.storage.delete(key)
    made = backups.back_up(service.wiring.database, service.wiring.storage, tmp_path / "backup")
    assert made.lacking == [key] and made.files == 1


def test_a_lacking_file_of_two_songs_is_said_once(
    service: InProcess, demo: Person, warmup: Path, tmp_path: Path
) -> None:
    key = f"uploads/{service.scope(demo).tenant_id}/{demo.send(warmup).json()['id']}/source"
    demo.send(warmup, "again.mp3")
    assert service.files("uploads") == [key]
    service.wiring.storage.delete(key)
    made = backups.back_up(service.wiring.database, service.wiring.storage, tmp_path / "backup")
    assert made.lacking == [key] and made.rows["upload"] == 2


@pytest.mark.parametrize("harm", ["manifest", "database", "list", "file", "content"])
def test_a_backup_that_is_not_whole_is_refused(backup: Path, service: InProcess, tmp_path: Path, harm: str) -> None:
    path = {"manifest": "manifest.json", "database": "database.sqlite", "list": "files.jsonl"}.get(harm)
    target = backup / path if path else files(backup)[0]
    if harm in ("manifest", "file"):
        target.unlink()
    else:
        target.write_bytes(target.read_bytes() + b" ")
    settings = service.settings.model_copy(update={"data_dir": tmp_path / "new"})
    with pytest.raises(NoBackup), restoring(settings.data_dir) as (database, storage):
        backups.restore(database, storage, backup)


def test_a_place_that_is_in_use_is_refused(backup: Path, service: InProcess, tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="database is not empty"):
        backups.restore(service.wiring.database, service.wiring.storage, backup)
    song = files(backup)[0].relative_to(backup / "files")
    (tmp_path / "new" / song).parent.mkdir(parents=True)
    shutil.copyfile(files(backup)[0], tmp_path / "new" / song)
    with (
        restoring(tmp_path / "new") as (database, storage),
        pytest.raises(BackupFailed, match="storage is not empty"),
    ):
        backups.restore(database, storage, backup)


@contextmanager
def restoring(data_dir: Path) -> Iterator[tuple[Database, Storage]]:
    wiring = wire(empty_settings(data_dir, ""))
    try:
        yield wiring.database, wiring.storage
    finally:
        wiring.database.dispose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_dump_may_take_longer_than_transactions_may_idle(
    service: InProcess, demo: Person, warmup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo.send(warmup)
    monkeypatch.setitem(db.POSTGRESQL, "options", "-c idle_in_transaction_session_timeout=1s -c lock_timeout=1s")
    programs = tmp_path / "programs"
    programs.mkdir()
    slow = programs / "pg_dump"
    slow.write_text(f'#!/bin/sh\nsleep 3\nexec {shutil.which("pg_dump")} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    wiring = wire(service.settings)
    made = backups.back_up(wiring.database, wiring.storage, tmp_path / "backup")
    wiring.database.dispose()
    assert made.files == 1 and made.lacking == []


def test_a_service_that_runs_keeps_its_database(backup: Path, tmp_path: Path) -> None:
    """Started before, or while files are copied."""
    there = Cluster(tmp_path / "there")
    with closing(ServiceLock(there.data_dir, "http://127.0.0.1:8000")):
        refused = there.command("restore", str(backup))
    assert refused.returncode == 1 and "The service is running" in refused.stderr, refused.stderr
    assert not (there.data_dir / "uploads").exists()
    assert there.command("restore", str(backup)).returncode == 0


def test_a_database_that_is_filled_meanwhile_stays(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with restoring(tmp_path / "new") as (database, storage):
        adopt = storage.adopt

        def somebody_starts(file: Path, key: str) -> None:
            adopt(file, key)
            prepare(empty_settings(tmp_path / "new", ""))

        monkeypatch.setattr(storage, "adopt", somebody_starts)
        with pytest.raises(BackupFailed, match="database is not empty"):
            backups.restore(database, storage, backup)


def test_a_storage_that_is_away_is_said_in_a_sentence(
    make_service: MakeService, own_s3_server: S3Server, warmup: Path, tmp_path: Path
) -> None:
    storage = own_s3_server.settings() | {"attempts": 1, "timeout_seconds": 5}
    service = make_service(storage=storage)
    service.login().send(warmup)
    own_s3_server.stop()
    here = Cluster(tmp_path / "here", VR_DB__URL=service.settings.database_url, **environment(storage))
    failed = here.command("backup", str(tmp_path / "backup"))
    assert failed.returncode == 1 and "Nothing is finished" in failed.stderr, failed.stderr
    assert "Traceback" not in failed.stderr and not (tmp_path / "backup" / "manifest.json").exists()

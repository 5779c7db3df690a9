"""The watched folder, with real processes where they are killed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend.settings import ROOT
from tests.client.conftest import HASTY, worker_of
from tests.client.faulty_way import FaultyWay, mute, refuse
from tests.processes import wait_until
from tests.service import InProcess, Person
from vocal_remover import AsyncClient, NotAllowed, Wishes
from vocal_remover.watch import Plan, Watch
from vocal_remover.watch_state import FILE


class Folder:
    def __init__(self, path: Path, url: str, key: str) -> None:
        self.source, self.target = path / "in", path / "out"
        self.source.mkdir()
        self.url, self.key = url, key
        self.said: list[str] = []

    def once(self, later: float = 60, **wishes: object) -> int:
        async def run() -> int:
            async with AsyncClient(self.url, self.key, patience=HASTY) as client:
                given = Wishes(duration=2.0, **wishes)  # type: ignore[typeddict-item]
                plan = Plan(self.source, self.target, given, every=0.05, later=later)
                return await Watch(client, plan, self.said.append).run(once=True)

        return asyncio.run(run())

    def put(self, song: Path, name: str) -> Path:
        return Path(shutil.copyfile(song, self.source / name))

    def made(self) -> set[str]:
        return {path.relative_to(self.target).as_posix() for path in self.target.glob("*/*")}

    def command(self, *more: str) -> subprocess.Popen[str]:
        env = os.environ | {"VOCAL_REMOVER_URL": self.url, "VOCAL_REMOVER_KEY": self.key}
        line = [sys.executable, "-m", "vocal_remover", "watch", str(self.source), str(self.target), "--every=0.1"]
        return subprocess.Popen(
            [*line, "--duration", "2", *more],
            cwd=ROOT / "clients" / "python",
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def remembered(self) -> dict[str, dict[str, object]]:
        path = self.target / FILE
        return dict(json.loads(path.read_text())) if path.is_file() else {}


@pytest.fixture
def folder(tmp_path: Path, way: FaultyWay, demo: Person) -> Folder:
    (tmp_path / "watched").mkdir()
    return Folder(tmp_path / "watched", way.url, demo.token)


@pytest.mark.usefixtures("working")
def test_songs_become_stems_once(folder: Folder, demo: Person, warmup: Path) -> None:
    folder.put(warmup, "a.mp3")
    folder.put(warmup, "a.mp2.mp3")
    (folder.source / "notes.txt").write_text("no song")
    (folder.source / ".hidden.mp3").write_text("no song")
    assert folder.once() == 0
    stems = ("accompaniment.wav", "vocals.wav")
    assert folder.made() == {f"{name}/{stem}" for name in ("a", "a.mp2") for stem in stems}
    assert demo.money() == (8, 0)
    assert folder.once() == 0
    assert demo.money() == (8, 0)
    os.utime(folder.put(warmup, "a.mp3"), (1, 1))  # another song under that name
    assert folder.once() == 0
    assert demo.money() == (7, 0)


@pytest.mark.usefixtures("working")
def test_what_can_t_be_separated_is_set_aside(folder: Folder, warmup: Path) -> None:
    aside = folder.source / "failed"
    for _ in range(2):
        (folder.source / "noise.mp3").write_bytes(b"no song at all")
        folder.put(warmup, "good.mp3")
        assert folder.once() == 0
    assert {path.name for path in folder.source.iterdir()} == {"failed", "good.mp3"}
    names = ["noise (2).mp3", "noise (2).mp3.why.txt", "noise.mp3", "noise.mp3.why.txt"]
    assert sorted(path.name for path in aside.iterdir()) == names
    assert "Code: audio_undecodable" in (aside / "noise.mp3.why.txt").read_text()
    assert "Request: " in (aside / "noise.mp3.why.txt").read_text()
    assert "good/vocals.wav" in folder.made()


@pytest.mark.usefixtures("working")
def test_what_is_not_the_song_s_fault_is_tried_again(folder: Folder, way: FaultyWay, warmup: Path) -> None:
    folder.put(warmup, "song.mp3")
    way.on("POST .*/separate", refuse(402), refuse(429, Retry_After="60"), *[refuse(503)] * HASTY.attempts)
    assert folder.once() == 1
    assert folder.once(later=0.01) == 1  # the service's own pause is longer
    assert folder.once() == 1
    assert folder.once() == 0
    assert way.count("POST .*/uploads") == 1
    assert folder.made() == {"song/accompaniment.wav", "song/vocals.wav"}


def test_without_a_good_key_it_stops(folder: Folder, warmup: Path) -> None:
    folder.put(warmup, "song.mp3")
    folder.key = "another"
    with pytest.raises(NotAllowed):
        folder.once()
    assert (folder.source / "song.mp3").exists()
    process = folder.command()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "token_invalid" in output
    assert "Traceback" not in output


def test_a_song_that_is_gone_from_the_service_is_sent_again(
    folder: Folder, service: InProcess, way: FaultyWay, warmup: Path
) -> None:
    folder.put(warmup, "song.mp3")
    way.on("POST .*/separate", mute)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(_until_sent(folder))
    with worker_of(service):
        person = service.login()
        upload_id = folder.remembered()["song.mp3"]["upload_id"]
        assert person.delete(f"/uploads/{upload_id}").status_code == 204
        assert folder.once() == 0
    assert folder.remembered()["song.mp3"]["upload_id"] != upload_id
    assert folder.made() == {"song/accompaniment.wav", "song/vocals.wav"}


async def _until_sent(folder: Folder) -> None:
    async with AsyncClient(folder.url, folder.key, patience=HASTY) as client:
        running = asyncio.create_task(Watch(client, Plan(folder.source, folder.target, every=0.05)).run())
        while not folder.remembered().get("song.mp3", {}).get("upload_id"):
            await asyncio.sleep(0.02)
        running.cancel()
        await running


def test_killed_and_stopped_it_goes_on_where_it_was(
    folder: Folder, service: InProcess, way: FaultyWay, demo: Person, warmup: Path
) -> None:
    folder.put(warmup, "song.mp3")
    first = folder.command()
    wait_until(lambda: any(song["task_id"] for song in folder.remembered().values()))
    second = folder.command()
    assert "Another process is watching" in second.communicate(timeout=60)[0]
    assert second.returncode == 1
    first.kill()
    first.communicate(timeout=60)

    heard = way.count("GET .*/events")
    third = folder.command()
    wait_until(lambda: way.count("GET .*/events") > heard)
    third.send_signal(signal.SIGTERM)
    assert "Stopped" in third.communicate(timeout=60)[0]
    assert third.returncode == 0

    with worker_of(service):
        last = folder.command("--once")
        output, _ = last.communicate(timeout=100)
    assert last.returncode == 0, output
    assert folder.made() == {"song/accompaniment.wav", "song/vocals.wav"}
    assert len(demo.get("/history").json()) == len(demo.get("/uploads").json()) == 1
    assert demo.money() == (9, 0)

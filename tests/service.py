"""The service in this very process: its API behind a real HTTP server, its worker called by hand.

Everything is real: the database, the files, the decoder child, the model.
"""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from glob import glob
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn
from sqlalchemy import select

from backend.app import create_app
from backend.auth import service as auth
from backend.auth.schemas import DEMO
from backend.identity import new_id
from backend.models import Artifact, Event, Task, Upload
from backend.settings import Settings
from backend.storage import upload_key
from backend.tenant.scope import Scope
from backend.user import service as users
from backend.wiring import Wiring
from engine.audio import AudioInfo
from engine.audio_io import DecodeLimits, probe
from workers.room import EngineRoom
from workers.separate import work

PASSWORD = "a long pass phrase"
FAST = "10000 per second"


@dataclass(frozen=True)
class Person:
    """Somebody who has logged in."""

    client: httpx.Client
    email: str
    token: str
    shelve: Callable[[Person, Path, str], str] | None = None
    """A quicker way for a song to get there than sending it, where sending is not what is tested."""
    refresh_token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(f"/api/v1{path}", headers=self.headers | more.pop("headers", {}), **more)

    def post(self, path: str, json: Any = None, **more: Any) -> httpx.Response:
        headers = self.headers | more.pop("headers", {})
        return self.client.post(f"/api/v1{path}", json=json, headers=headers, **more)

    def patch(self, path: str, json: Any) -> httpx.Response:
        return self.client.patch(f"/api/v1{path}", json=json, headers=self.headers)

    def delete(self, path: str) -> httpx.Response:
        return self.client.delete(f"/api/v1{path}", headers=self.headers)

    def send(self, song: Path | bytes, filename: str = "song.mp3") -> httpx.Response:
        content = song.read_bytes() if isinstance(song, Path) else song
        return self.client.post(
            "/api/v1/uploads", headers=self.headers, files={"file": (filename, content, "audio/mpeg")}
        )

    def upload(self, song: Path, filename: str = "song.mp3") -> str:
        if self.shelve is not None:
            return self.shelve(self, song, filename)
        answer = self.send(song, filename)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def submit(self, upload_id: str, **more: Any) -> str:
        answer = self.post("/separate", {"upload_id": upload_id, **more})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])

    def task(self, task_id: str) -> dict[str, Any]:
        answer = self.get(f"/tasks/{task_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def money(self) -> tuple[float, float]:
        """(credits that can be spent, credits held)."""
        me = self.get("/me").json()
        return me["credits"], me["held"]

    def entries(self) -> list[tuple[str, float]]:
        """(kind, credits) of the ledger, oldest first."""
        rows = self.get("/credits/entries").json()
        return [(row["kind"], row["credits"]) for row in reversed(rows)]


class InProcess:
    """The service on given settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._app = create_app(settings)
        config = uvicorn.Config(
            self._app, port=0, proxy_headers=False, log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        limits = httpx.Limits(max_connections=None)
        self.client = httpx.Client(base_url=self.url, timeout=60, limits=limits, trust_env=False)

    def start(self) -> None:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the API did not start"
            time.sleep(0.005)

    def stop(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        if "room" in self.__dict__:
            self.room.close()

    @property
    def wiring(self) -> Wiring:
        wiring: Wiring = self._app.state.wiring
        return wiring

    @cached_property
    def room(self) -> EngineRoom:
        return EngineRoom(self.settings)

    def work(self) -> bool:
        """Do the next task as a worker does."""
        return work(self.room)

    def login(self, email: str = DEMO["email"]) -> Person:
        """Without the password: hashing it takes longer than most tests. `test_contract` logs in by HTTP."""
        with self.wiring.database.write() as session:
            user = users.by_email(session, email)
            assert user is not None
            tenant_id = users.home_tenant(session, user.id)
            assert tenant_id is not None
            tokens = auth.start(self.wiring, session, Scope(tenant_id, user.id))
        return Person(self.client, email, tokens.access, self._shelve, tokens.refresh)

    def register(self, email: str) -> Person:
        with self.wiring.database.write() as session:
            users.create(session, email, "no password fits", granted=self.settings.credit.signup_grant)
        return self.login(email)

    def _shelve(self, person: Person, song: Path, filename: str) -> str:
        """What sending leaves behind, with the song counted once for all tests."""
        scope, upload_id, info = self.scope(person), new_id(), counted(song)
        assert scope.user_id is not None
        key = upload_key(scope.tenant_id, upload_id)
        with self.wiring.storage.incoming() as folder:
            self.wiring.storage.adopt(Path(shutil.copyfile(song, folder / "song")), key)
        row = Upload(id=upload_id, tenant_id=scope.tenant_id, user_id=scope.user_id, filename=filename, **asdict(info))
        row.storage_key, row.size, row.sha256 = key, song.stat().st_size, "0" * 64
        with self.wiring.database.write() as session:
            session.add(row)
        return str(upload_id)

    def scope(self, person: Person) -> Scope:
        me = person.get("/me").json()
        return Scope(UUID(me["tenant_id"]), UUID(me["id"]))

    def row(self, task_id: str) -> Task:
        with self.wiring.database.read() as session:
            return session.scalars(select(Task).where(Task.id == UUID(task_id))).one()

    def events(self, task_id: str) -> list[Event]:
        with self.wiring.database.read() as session:
            statement = select(Event).where(Event.task_id == UUID(task_id)).order_by(Event.seq)
            return list(session.scalars(statement))

    def artifacts(self, task_id: str) -> list[Artifact]:
        with self.wiring.database.read() as session:
            return list(session.scalars(select(Artifact).where(Artifact.task_id == UUID(task_id))))

    def path(self, key: str) -> Path:
        """Where a file of the storage lies, or would; for services that keep theirs in a folder."""
        place = self.wiring.storage.place(key)
        assert place is not None
        return place

    def files(self, *rooms: str) -> list[str]:
        """Every file below these folders of the storage, or below all that hold songs and results.

        Below `incoming/` each process has a folder; what it opens in there counts even when empty.
        """
        found: list[str] = []
        for room in rooms or ("uploads", "output", "incoming"):
            found += [str(path.relative_to(self.settings.data_dir)) for path in files_below(room, self.settings)]
        return sorted(found)


@cache
def counted(song: Path) -> AudioInfo:
    return probe(song, DecodeLimits(seconds=7200))


def files_below(room: str, settings: Settings) -> Iterator[Path]:
    folder = settings.data_dir / room
    # Path.rglob fails when a folder goes away while it looks.
    found = (folder / name for name in glob("**", root_dir=folder, recursive=True, include_hidden=True))
    return (path for path in found if path.is_file() or path.parent.parent.name == "incoming")


MakeService = Callable[..., InProcess]


@contextmanager
def running(database_url: str, folder: Path) -> Iterator[MakeService]:
    """Makes services on a database, with given settings beside the tests' usual ones; stops them in the end."""
    with ExitStack() as stack:

        def make(**changes: Any) -> InProcess:
            values: dict[str, Any] = {
                "data_dir": folder / "data",
                "db": {"url": database_url},
                "limit": dict.fromkeys(("address", "user", "key", "tenant", "separate", "transfer", "login"), FAST),
                "engine": {"threads": 2},
                "worker": {"renew_seconds": 0.1},
            }
            for name, value in changes.items():
                values[name] = values.get(name, {}) | value if isinstance(value, dict) else value
            service = InProcess(Settings(_env_file=None, **values))
            stack.callback(service.stop)
            service.start()
            return service

        yield make


@pytest.fixture
def make_service(database_url: str, tmp_path: Path) -> Iterator[MakeService]:
    """The service on a database of the test's own."""
    with running(database_url, tmp_path) as make:
        yield make


@pytest.fixture
def service(make_service: MakeService) -> InProcess:
    return make_service()


@pytest.fixture
def demo(service: InProcess) -> Person:
    """The demo user, who has 10 credits."""
    return service.login()


@pytest.fixture
def stranger(service: InProcess) -> Person:
    """Somebody else, in a tenant of their own."""
    return service.register("stranger@example.com")

"""Where requests block, and the sessions that they hold meanwhile."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import APIRouter, Depends
from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from backend.built_once import built_once
from backend.db import Database
from backend.models import User
from backend.sessions import Reading, answer_in_threads
from backend.settings import Settings
from backend.task import service as tasks
from backend.tenant.scope import Scope
from backend.threads import AT_ONCE, MOMENT_SECONDS, THREADS, Lane, in_thread
from tests.service import InProcess, Person


def looked_up(session: Reading) -> Session:
    return session


def shown(found: Annotated[Any, Depends(looked_up)]) -> None: ...


class Watch:
    """How many run at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = 0

    def work(self, seconds: float) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass
        with self._lock:
            self.now -= 1


def test_few_run_at_once() -> None:
    watch = Watch()

    async def main() -> None:
        lane = Lane()
        await asyncio.gather(*(lane.run(lambda: watch.work(MOMENT_SECONDS / 20)) for _ in range(30)))

    asyncio.run(main())
    assert 1 <= watch.most <= AT_ONCE + 2  # one that the machine kept waiting for a moment counts no longer


def test_those_that_wait_keep_nobody_waiting() -> None:
    held = threading.Event()

    async def main() -> int:
        lane = Lane()
        waiting = [asyncio.ensure_future(lane.run(held.wait)) for _ in range(THREADS - 1)]
        try:
            return await asyncio.wait_for(lane.run(lambda: 42), 20)
        finally:
            held.set()
            assert all(await asyncio.gather(*waiting))

    assert asyncio.run(main()) == 42


def test_a_thread_knows_what_its_request_knows() -> None:
    name = contextvars.ContextVar[str]("name")

    def fail() -> None:
        raise LookupError(name.get())

    async def main() -> None:
        name.set("request")
        with pytest.raises(LookupError, match="request"):
            await in_thread(fail)

    asyncio.run(main())


def test_what_reads_gives_its_connection_back(service: InProcess, demo: Person) -> None:
    """Whether it answers, refuses or fails."""
    for path in ("/me", "/history?limit=1", f"/status/{UUID(int=0)}", "/history?limit=0"):
        for _ in range(3):
            demo.get(path)
    assert service.wiring.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_only_endpoints_are_given_a_session_to_read() -> None:
    router = APIRouter()
    router.get("/")(shown)
    with pytest.raises(TypeError, match="opens its own session"):
        answer_in_threads(router)


def test_no_router_hides_in_another() -> None:
    outer, inner = APIRouter(), APIRouter()
    inner.get("/")(shown)
    outer.include_router(inner)
    with pytest.raises(TypeError, match="within a router"):
        answer_in_threads(outer)


def test_a_scope_shares_its_names_with_nothing() -> None:
    def twice(scope: Scope, user_id: UUID) -> Select[Any]:
        return select(User)

    with pytest.raises(TypeError, match="called tenant_id and user_id"):
        built_once(twice)


def test_what_is_counted_has_an_end(service: InProcess, demo: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MOST_COUNTED", 2)
    for number, total in enumerate(["1", "2", None], 1):
        demo.post("/separate", {"filename": "warmup.mp3"})
        answers = [demo.get(f"/history{more}") for more in ("", "?limit=1")]
        assert len(answers[0].json()) == number
        # A list that is complete says it whatever it costs to count.
        assert [answer.headers.get("x-total-count") for answer in answers] == [str(number), total]


def test_a_connection_that_died_at_rest_is_noticed(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(Settings(_env_file=None, db={"url": postgres_url}))  # type: ignore[arg-type]

    def backends() -> int:
        with database.read() as session:
            return int(session.execute(text("SELECT pg_backend_pid()")).scalar_one())

    with ThreadPoolExecutor(2) as pool, database.read() as session:
        session.execute(text("SELECT 1"))
        killed = pool.submit(backends).result()
        assert backends() == killed
        session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": killed})
    monkeypatch.setattr("backend.db.UNTRIED_SECONDS", 0.0)
    assert {backends() for _ in range(3)}.isdisjoint({killed})
    database.dispose()

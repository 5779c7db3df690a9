"""Dependencies of the endpoints: the wiring, and a session that is committed before the answer is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection
from sqlalchemy.orm import Session

from backend.wiring import Wiring


def _wiring(connection: HTTPConnection) -> Wiring:
    wiring: Wiring = connection.app.state.wiring
    return wiring


WiringOf = Annotated[Wiring, Depends(_wiring)]


def _read(wiring: WiringOf) -> Iterator[Session]:
    with wiring.database.read() as session:
        yield session


def _write(wiring: WiringOf) -> Iterator[Session]:
    with wiring.database.write() as session:
        yield session


# scope="function": by default FastAPI would commit after the answer has left.
Reading = Annotated[Session, Depends(_read, scope="function")]
Writing = Annotated[Session, Depends(_write, scope="function")]

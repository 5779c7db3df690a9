"""People who run the service, for tests."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import update

from backend.models import User
from tests.service import InProcess, Person


def operator(service: InProcess, email: str = "operator@example.com") -> Person:
    person = service.register(email)
    with service.wiring.database.write() as session:
        session.execute(update(User).where(User.email == email).values(operator=True))
    return person


def user_id(service: InProcess, person: Person) -> UUID:
    found = service.scope(person).user_id
    assert found is not None
    return found


def send(person: Person, method: str, path: str, body: Any = None) -> httpx.Response:
    return person.client.request(method, f"/api/v1{path}", headers=person.headers, json=body)

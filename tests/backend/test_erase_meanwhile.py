"""What happens to an erasure between its request and its transaction."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backend.audit.service import Actor
from backend.auth import recovery
from backend.auth.password import hash_password
from backend.auth.schemas import DEMO
from backend.credit import service as credit
from backend.tenant import service as tenants
from backend.user import service as users
from tests.colleagues import colleague, id_of, roles, told
from tests.operators import operator, send, user_id
from tests.processes import wait_until
from tests.servers import on_both, waiting
from tests.service import PASSWORD, InProcess, Person

pytestmark = on_both


@pytest.mark.parametrize("meanwhile", ["demoted", "removed"])
def test_who_is_no_owner_any_more_when_the_password_is_checked_erases_nothing(
    service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    second = colleague(service, demo, "second@example.com", "owner")
    demo.submit(demo.upload(warmup))
    assert service.work()
    files, name = service.files("uploads", "output"), demo.get("/tenant").json()["name"]
    path, confirm = f"/tenant/members/{id_of(demo)}", recovery.confirm_password

    def confirm_and_fall(*given: Any) -> None:
        confirm(*given)
        fallen = send(second, *(("PATCH", path, {"role": "admin"}) if meanwhile == "demoted" else ("DELETE", path)))
        assert fallen.is_success, fallen.text

    monkeypatch.setattr(recovery, "confirm_password", confirm_and_fall)
    body = {"password": DEMO["password"], "name": name}
    assert told(demo.post("/tenant/erase", body)) == (403, "role_needed")
    assert second.get("/tenant").json()["name"] == name
    assert roles(second).get(demo.email) == ("admin" if meanwhile == "demoted" else None)
    assert [row["status"] for row in second.get("/tenant/tasks").json()] == ["completed"]
    assert files and service.files("uploads", "output") == files


def test_an_erasure_waits_for_credits_that_are_being_given(service: InProcess, demo: Person) -> None:
    """And they don't wait for it: it holds the operators, one of whom gives them."""
    chief = operator(service)
    mate = colleague(service, demo, "mate@example.com")
    scope = service.scope(mate)
    assert scope.user_id is not None
    with service.wiring.database.write() as session:
        assert users.change_password(session, users.require(session, scope.user_id), hash_password(PASSWORD))
    with ThreadPoolExecutor(1) as pool:
        with service.wiring.database.write() as session:
            assert tenants.stays(session, scope)  # what granting begins with
            erased = pool.submit(lambda: mate.post("/me/erase", {"password": PASSWORD}))
            wait_until(lambda: waiting(service.wiring.database) or erased.done())
            by = Actor("operator", user_id(service, chief))
            users.grant_to(session, by, scope.user_id, 1000, "thanks", tenant_id=scope.tenant_id)
        answer = erased.result()
    assert (answer.status_code, answer.json()["credits"]) == (200, 1), answer.text
    with service.wiring.database.read() as session:
        assert credit.verify(session) == []

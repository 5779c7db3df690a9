"""Several people in one tenant, and what the audit log says of them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import select

from backend.audit.service import Actor
from backend.credit import service as credit
from backend.models import AuditEntry, LoginSession
from backend.user import joining
from tests.service import InProcess, Person

Told = tuple[int, str]


def colleague(service: InProcess, owner: Person, email: str, role: str = "member") -> Person:
    """Somebody new, who has come into the owner's tenant by an invitation."""
    invited = "member" if role == "member" else "admin"
    code = invitation(owner, email, invited)
    with service.wiring.database.write() as session:
        user = joining.create_invited(session, Actor("user"), email, "no password fits", code)
    if role == "owner":
        assert owner.patch(f"/tenant/members/{user.id}", {"role": role}).status_code == 204
    return service.login(email)


def invitation(owner: Person, email: str, role: str = "member") -> str:
    """Its code."""
    answer = owner.post("/tenant/invitations", {"email": email, "role": role})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["code"])


def id_of(person: Person) -> str:
    return str(person.get("/me").json()["id"])


def give(service: InProcess, giver: Person, to: Person, amount: int) -> None:
    """Millicredits."""
    with service.wiring.database.write() as session:
        credit.transfer(session, service.scope(giver), UUID(id_of(to)), amount, None)


def told(answer: httpx.Response) -> Told:
    return answer.status_code, answer.json()["code"] if answer.status_code >= 400 else ""


def roles(person: Person) -> dict[str, str]:
    return {row["email"]: row["role"] for row in person.get("/tenant/members").json()}


def acts(service: InProcess, tenant_id: str, *actions: str) -> list[AuditEntry]:
    """Of these kinds in a tenant, oldest first."""
    with service.wiring.database.read() as session:
        statement = select(AuditEntry).where(AuditEntry.tenant_id == UUID(tenant_id), AuditEntry.action.in_(actions))
        return list(session.scalars(statement.order_by(AuditEntry.id)))


def said(entry: AuditEntry) -> tuple[str | None, Any, Any]:
    return entry.target, entry.before, entry.after


def logins(service: InProcess, person: Person) -> int:
    """How many of somebody's have not ended."""
    with service.wiring.database.read() as session:
        found = select(LoginSession.id).where(
            LoginSession.user_id == service.scope(person).user_id, LoginSession.revoked_at.is_(None)
        )
        return len(session.scalars(found).all())

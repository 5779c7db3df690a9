"""How somebody comes by the things that routes are about. Each function returns what names the thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from jose import jwt
from sqlalchemy import update

from backend.clock import database_now
from backend.credit import service as credit
from backend.models import WebhookDelivery
from tests.payments import order
from tests.service import Person
from tests.walking import walk

if TYPE_CHECKING:
    from tests.backend.matrix.world import World

Ids = dict[str, str]
Maker = Callable[["World", Person], Ids]

NOWHERE = "http://127.0.0.1:9/hook"


def upload(world: World, person: Person) -> Ids:
    filename = str(uuid4())  # as long as a random one: answers that name it are compared
    return {"upload_id": person.upload(world.song, filename), "filename": filename}


def queued_task(world: World, person: Person) -> Ids:
    return {"task_id": person.submit(upload(world, person)["upload_id"])}


def cancelled_task(world: World, person: Person) -> Ids:
    made = queued_task(world, person)
    assert person.post(f"/tasks/{made['task_id']}/cancel").json()["status"] == "cancelled"
    return made


def completed_task(world: World, person: Person) -> Ids:
    """With stems, by a worker. One for each person: rows that delete take a cancelled one."""
    return world.once("completed", person, _completed_task)


def _completed_task(world: World, person: Person) -> Ids:
    made = queued_task(world, person)
    while person.task(made["task_id"])["status"] == "queued":
        assert world.service.work()
    assert person.task(made["task_id"])["stems"]
    return made


def login(world: World, person: Person) -> Ids:
    """Another of the person's."""
    return {"session_id": jwt.get_unverified_claims(world.service.login(person.email).token)["sid"]}


def key(world: World, person: Person) -> Ids:
    return {"key_id": person.post("/keys", {"name": "studio", "scopes": ["read"]}).json()["id"]}


def purchase(world: World, person: Person) -> Ids:
    return {"purchase_id": order(person)["id"]}


def webhook(world: World, person: Person) -> Ids:
    answer = person.post("/webhooks", {"url": NOWHERE})
    assert answer.status_code == 201, answer.text
    return {"webhook_id": answer.json()["id"]}


def delivery(world: World, person: Person) -> Ids:
    """One that failed: such a one can be replayed."""
    made = webhook(world, person)
    made["delivery_id"] = person.post(f"/webhooks/{made['webhook_id']}/test").json()["id"]
    with world.service.wiring.database.write() as session:
        session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.id == UUID(made["delivery_id"]))
            .values(status="failed", next_at=None, finished_at=database_now())
        )
    return made


def somebody(world: World, person: Person) -> Ids:
    """Who has just registered."""
    scope = world.scope(world.newcomer())
    return {"user_id": str(scope.user_id), "tenant_id": str(scope.tenant_id)}


def named(world: World, person: Person) -> Ids:
    """A tenant whose name is known."""
    other = world.newcomer()
    return {"tenant_id": str(world.scope(other).tenant_id), "named": other.get("/tenant").json()["name"]}


def suspended(world: World, person: Person) -> Ids:
    made = somebody(world, person)
    assert world.operator.post(f"/admin/tenants/{made['tenant_id']}/suspend", {"reason": "unpaid"}).is_success
    return made


def deactivated(world: World, person: Person) -> Ids:
    made = somebody(world, person)
    assert world.operator.post(f"/admin/users/{made['user_id']}/deactivate", {"reason": "spam"}).is_success
    return made


def paid_task(world: World, person: Person) -> Ids:
    """Which nobody has worked on: the ledger only looks at how it ended."""
    made = queued_task(world, person)
    task_id = UUID(made["task_id"])
    with world.service.wiring.database.write() as session:
        credit.capture(session, world.scope(person).tenant_id, task_id)
        walk(session, task_id, "completed")
    return made


def changed_setting(world: World, person: Person) -> Ids:
    headers = world.operator.headers
    body = {"value": "INFO"}
    assert person.client.put("/api/v1/admin/settings/log_level", json=body, headers=headers).is_success
    return {}


def colleague(world: World, person: Person) -> Ids:
    return {"user_id": str(world.scope(world.colleague("member", person)).user_id)}


def second_tenant(world: World, person: Person) -> Ids:
    """Which the person was invited into."""
    host = world.newcomer()
    with world.service.wiring.database.write() as session:
        world.join(session, world.scope(host).tenant_id, world.scope(person).user_id, "member")
    return {"tenant_id": str(world.scope(host).tenant_id)}


def invitation(world: World, person: Person) -> Ids:
    answer = person.post("/tenant/invitations", {"email": f"{uuid4()}@example.com", "role": "member"})
    return {"invitation_id": answer.json()["id"]}


def invited(world: World, person: Person) -> Ids:
    """The code that somebody else sent to the person's address."""
    answer = world.newcomer().post("/tenant/invitations", {"email": person.email, "role": "member"})
    return {"code": answer.json()["code"]}

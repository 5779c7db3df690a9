"""`credits.low`: told once each time that credits fall below what was named, however they went."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import select, update

from backend.credit import service as credit
from backend.models import Account, WebhookDelivery
from backend.webhook import alert
from tests.servers import on_both
from tests.service import InProcess, Person
from workers.sweep import Sweep


def hear(person: Person, below: float | None) -> None:
    if not person.get("/webhooks").json():
        assert person.post("/webhooks", {"url": "https://example.com/hook"}).status_code == 201
    answer = person.client.put("/api/v1/webhooks/credits-low", json={"below": below}, headers=person.headers)
    assert answer.json() == {"below": below}


def told(service: InProcess) -> list[str]:
    """After every worker had a look."""
    Sweep(service.wiring, "somebody").run(0)
    with service.wiring.database.read() as session:
        assert not alert.any_due(session)
        return list(session.scalars(select(WebhookDelivery.kind).order_by(WebhookDelivery.id)))


def spend(service: InProcess, person: Person, millicredits: int) -> None:
    """As something that nobody has thought of yet would."""
    scope = service.scope(person)
    with service.wiring.database.write() as session:
        mine = (Account.tenant_id == scope.tenant_id, Account.kind == "available")
        session.execute(update(Account).where(*mine).values(balance=Account.balance - millicredits))


@on_both
def test_told_once_each_time(service: InProcess, demo: Person, stranger: Person, warmup: Path) -> None:
    hear(demo, 8)
    hear(stranger, 1)
    song = demo.upload(warmup)  # costs 1 of 10 credits
    demo.submit(song)
    demo.submit(song)  # 8 left: not below
    assert told(service) == []
    demo.submit(song)
    assert told(service) == ["credits.low"]
    demo.submit(song)
    assert told(service) == ["credits.low"]
    [message] = demo.get(f"/webhooks/{demo.get('/webhooks').json()[0]['id']}/deliveries").json()
    scope = service.scope(demo)
    assert scope.user_id is not None
    with service.wiring.database.write() as session:
        credit.grant(session, scope.tenant_id, scope.user_id, 2_500, "more")
    assert told(service) == ["credits.low"]
    demo.submit(song)
    assert told(service) == ["credits.low"] * 2
    assert message["event"] == "credits.low"


@on_both
def test_told_however_they_went(service: InProcess, demo: Person) -> None:
    hear(demo, 5)
    spend(service, demo, 5_001)
    assert told(service) == ["credits.low"]
    hear(demo, 4)
    assert told(service) == ["credits.low"]
    spend(service, demo, 4_000)
    assert told(service) == ["credits.low"] * 2
    hear(demo, None)
    assert demo.get("/webhooks/credits-low").json() == {"below": None}
    spend(service, demo, 999)
    assert told(service) == ["credits.low"] * 2


@on_both
def test_of_many_workers_that_look_at_once_one_tells(service: InProcess, demo: Person) -> None:
    hear(demo, 5)
    spend(service, demo, 6_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: told(service), range(8)))
    assert told(service) == ["credits.low"]

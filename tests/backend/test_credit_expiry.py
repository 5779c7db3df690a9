"""Granted credits that expire: spent before the others, gone on their day, and not a moment of them lost or made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, update

from backend.clock import database_now, utc_now
from backend.credit import service as credit
from backend.models import AuditEntry, CreditLot
from backend.tenant.scope import Scope
from backend.user import service as users
from tests.colleagues import colleague, give, id_of
from tests.ledger import submit, write_people, write_song
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person
from workers.tidy import Tidy

pytestmark = on_both

SOON, LATER = (utc_now() + timedelta(days=days) for days in (1, 2))


def present(service: InProcess, person: Person, amount: int, expires_at: datetime | None) -> None:
    scope = service.scope(person)
    assert scope.user_id is not None
    with service.wiring.database.write() as session:
        credit.grant(session, scope.tenant_id, scope.user_id, amount, "a present", expires_at=expires_at)


def expiring(person: Person) -> dict[datetime, float]:
    rows = person.get("/credits").json()["expiring"]
    return {datetime.fromisoformat(row["expires_at"]): row["credits"] for row in rows}


def days_pass(service: InProcess, until: datetime) -> None:
    """What expires until then has expired."""
    with service.wiring.database.write() as session:
        session.execute(update(CreditLot).where(CreditLot.expires_at <= until).values(expires_at=database_now(-1)))


def sweep(service: InProcess) -> int:
    with service.wiring.database.write() as session:
        people = credit.expire_due(session)
    with service.wiring.database.read() as session:
        assert credit.verify(session) == []
    return people


def test_the_soonest_is_spent_first(service: InProcess, demo: Person, warmup: Path) -> None:
    present(service, demo, 1_500, LATER)
    present(service, demo, 700, SOON)
    assert (demo.money(), expiring(demo)) == ((12.2, 0), {SOON: 0.7, LATER: 1.5})
    task_id = demo.submit(demo.upload(warmup))
    assert (demo.money(), expiring(demo)) == ((11.2, 1), {LATER: 1.2})
    demo.post(f"/tasks/{task_id}/cancel")
    assert (demo.money(), expiring(demo)) == ((12.2, 0), {SOON: 0.7, LATER: 1.5})

    days_pass(service, SOON)
    assert (demo.money(), expiring(demo)) == ((11.5, 0), {LATER: 1.5}), "at once, not only when it is taken"
    assert sweep(service) == 1
    assert sweep(service) == 0
    assert (demo.money(), expiring(demo)) == ((11.5, 0), {LATER: 1.5})
    assert demo.entries()[-1] == ("expiry", 0.7)
    with service.wiring.database.read() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "credits.expired")).one()
        assert (entry.actor_kind, entry.after and entry.after["millicredits"]) == ("service", 700)


def test_what_is_put_aside_expires_only_when_it_comes_back(service: InProcess, demo: Person, warmup: Path) -> None:
    present(service, demo, 2_000, SOON)
    kept, cancelled = (demo.submit(demo.upload(warmup)) for _ in range(2))
    days_pass(service, SOON)
    assert sweep(service) == 0
    assert demo.money() == (10, 2)
    demo.post(f"/tasks/{cancelled}/cancel")
    assert demo.money() == (10, 1)
    assert sweep(service) == 1
    assert service.work()
    assert demo.task(kept)["status"] == "completed"
    assert sweep(service) == 0
    assert demo.money() == (10, 0)


def test_given_away_they_expire_as_before(service: InProcess, demo: Person) -> None:
    friend = colleague(service, demo, "friend@example.com")
    present(service, demo, 500, SOON)
    present(service, demo, 500, LATER)
    give(service, demo, friend, 800)
    assert (friend.money(), expiring(friend)) == ((0.8, 0), {SOON: 0.5, LATER: 0.3})
    assert (demo.money(), expiring(demo)) == ((10.2, 0), {LATER: 0.2})
    give(service, friend, demo, 600)
    assert (expiring(friend), expiring(demo)) == ({LATER: 0.2}, {SOON: 0.5, LATER: 0.3})
    days_pass(service, LATER)
    assert sweep(service) == 2
    assert (friend.money(), demo.money()) == ((0, 0), (10, 0))


def test_what_has_expired_is_not_spent_before_the_sweep(service: InProcess, demo: Person, warmup: Path) -> None:
    friend = colleague(service, demo, "friend@example.com")
    present(service, friend, 1_500, SOON)
    song = friend.upload(warmup)
    task_id = friend.submit(song)
    days_pass(service, SOON)
    friend.post(f"/tasks/{task_id}/cancel")
    assert (friend.money(), friend.get("/credits").json()["balance"]) == ((0, 0), 0)
    for path, body in (
        ("/separate", {"upload_id": song}),
        (f"/tasks/{task_id}/retry", None),
        ("/credits/transfers", {"to_user_id": id_of(demo), "credits": 0.001}),
    ):
        answer = friend.post(path, body)
        assert (answer.status_code, answer.json()["code"]) == (402, "credits_exhausted")
    present(service, friend, 1_000, None)
    friend.submit(song)
    assert (friend.money(), expiring(friend)) == ((0, 1), {})
    assert friend.post("/tenant/leave").json()["credits"] == 1, "what was put aside, and nothing that has expired"
    assert sweep(service) == 1
    assert demo.money() == (11, 0)


def test_all_is_taken_from_who_is_erased(service: InProcess, demo: Person) -> None:
    present(service, demo, 500, SOON)
    scope = service.scope(demo)
    assert scope.user_id is not None
    with service.wiring.database.write() as session:
        assert credit.forfeit(session, scope.tenant_id, scope.user_id, "erased") == 10_500
        assert credit.forfeit(session, scope.tenant_id, scope.user_id, "erased") == 0
    assert (demo.money(), expiring(demo), demo.entries()[-1]) == ((0, 0), {}, ("expiry", 10.5))
    days_pass(service, SOON)
    assert sweep(service) == 0


def test_refunded_they_never_expire(service: InProcess, demo: Person, warmup: Path) -> None:
    present(service, demo, 1_000, SOON)
    task_id = demo.submit(demo.upload(warmup))
    scope = service.scope(demo)

    def refund() -> None:
        with service.wiring.database.write() as session:
            credit.refund(session, scope.tenant_id, UUID(task_id), "it was noise")

    with pytest.raises(credit.NothingToRefund):
        refund()
    assert service.work()
    refund()
    with pytest.raises(credit.AlreadyRefunded):
        refund()
    assert (demo.money(), expiring(demo), demo.entries()[-1]) == ((11, 0), {}, ("refund", 1))
    assert sweep(service) == 0


@pytest.mark.parametrize("waits", [False, True])
def test_welcome_credits_may_expire(make_service: MakeService, waits: bool) -> None:
    service = make_service(credit={"grant_days": 30}, auth={"verified_email": waits})
    answer = service.client.post(
        "/api/v1/register", json={"email": "new@example.com", "password": "a long pass phrase"}
    )
    assert answer.status_code == 201, answer.text
    person = service.login("new@example.com")
    if waits:
        assert (person.money(), expiring(person)) == ((0, 0), {})
        with service.wiring.database.write() as session:
            user = users.by_email(session, person.email)
            assert user is not None
            users.prove_email(session, user, service.settings.credit.grant_days)
    ((moment, credits),) = expiring(person).items()
    assert credits == 10
    assert timedelta(days=29) < moment - utc_now() <= timedelta(days=30)


def test_the_workers_sweep_takes_them(service: InProcess, demo: Person) -> None:
    present(service, demo, 500, SOON)
    days_pass(service, SOON)
    Tidy(service.wiring).run()
    assert demo.money() == (10, 0)


def test_sweeps_and_spends_at_once(service: InProcess) -> None:
    """Several hosts sweep while everybody spends, gives and is given: nobody waits for ever, nothing is wrong."""
    database = service.wiring.database
    with database.write() as session:
        tenant_id, people = write_people(session, 4)
        songs = [write_song(session, tenant_id, user_id) for user_id in people]

    def spend(turn: int) -> None:
        who = turn % len(people)
        moment = utc_now() + timedelta(seconds=turn % 3 - 1)
        with database.write() as session:
            credit.grant(session, tenant_id, people[who], 500, "a present", expires_at=moment)
        with database.write() as session:
            submit(session, tenant_id, people[who], songs[who], 100)
        with database.write() as session:
            credit.transfer(session, Scope(tenant_id, people[who]), people[who - 1], 50, None)

    def act(turn: int) -> str | None:
        try:
            if turn % 3:
                spend(turn)
            else:
                with database.write() as session:
                    credit.expire_due(session)
        except credit.CreditsExhausted:
            return "exhausted"
        return None

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(act, range(60))) <= {None, "exhausted"}
    with database.read() as session:
        assert credit.verify(session) == []

"""Everything of a tenant or a person goes: every table and the disk are searched for their words afterwards."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, update

from backend import removal
from backend.auth.password import hash_password
from backend.clock import database_now
from backend.credit import service as credit
from backend.models import AuditEntry, Base, Membership, Tenant, TenantInvitation, User
from backend.task import lifecycle, retention
from backend.user import service as users
from tests.colleagues import colleague, invitation
from tests.servers import on_both
from tests.service import PASSWORD, InProcess, Person

pytestmark = on_both

OWNER, MATE, GUEST = "Otilie.Owner@example.com", "mate@example.com", "guest@example.com"
SONG = "Otilies Geheimnis.mp3"
WORDS = ("otilie", "geheimnis", "mate@", "Choir of Secrets", "hooks.example.com/choir")
"""None of them may be found after the tenant is gone."""


@pytest.fixture(scope="module")
def hashed() -> str:
    return hash_password(PASSWORD)


class Choir:
    """A tenant with an owner, somebody who is in it alone, and a guest who has a tenant of their own."""

    def __init__(self, service: InProcess, hashed: str, song: Path) -> None:
        self.service = service
        self.owner = self._register(OWNER, hashed)
        self.tenant_id, self.owner_id = service.scope(self.owner).tenant_id, service.scope(self.owner).user_id
        self.mate = self._join(MATE, hashed, alone=True)
        self.guest = self._join(GUEST, hashed, alone=False)
        with service.wiring.database.write() as session:
            session.execute(update(Tenant).where(Tenant.id == self.tenant_id).values(name="Choir of Secrets"))
        webhook = {"url": "https://hooks.example.com/choir", "events": ["task.completed"]}
        assert self.owner.post("/webhooks", webhook).status_code == 201
        assert self.owner.post("/keys", {"name": "Otilie's laptop", "scopes": ["read"]}).status_code == 201
        uploaded = self.owner.upload(song, SONG)
        self.done = self.owner.submit(uploaded)
        assert service.work()
        self.waits = self.owner.submit(uploaded)
        headers = {"Idempotency-Key": "Otilie says so"}
        self.mates = self.mate.post(
            "/separate", {"upload_id": self.mate.upload(song, "mate@song.mp3")}, headers=headers
        ).json()["task_id"]
        self.guests = self.guest.submit(self.guest.upload(song, "guest.mp3"))
        assert self.owner.post("/tickets", {"task_id": self.waits}).status_code == 201
        self.uploaded = uploaded

    def erase(self, **body: str) -> httpx.Response:
        return self.owner.post("/tenant/erase", {"password": PASSWORD, "name": "Choir of Secrets"} | body)

    def _register(self, email: str, hashed: str) -> Person:
        with self.service.wiring.database.write() as session:
            users.create(session, email, hashed, granted=10_000)
        return self.service.login(email.lower())

    def _join(self, email: str, hashed: str, *, alone: bool) -> Person:
        """Whose logins enter this tenant, and not the one that they registered with."""
        user_id = self.service.scope(self._register(email, hashed)).user_id
        with self.service.wiring.database.write() as session:
            own = session.scalars(select(Membership).where(Membership.user_id == user_id)).one()
            tenant = session.get_one(Tenant, own.tenant_id)
            session.add(Membership(tenant_id=self.tenant_id, user_id=user_id, role="member"))
            session.flush()
            own.created_at = session.get_one(Membership, (self.tenant_id, user_id)).created_at.replace(year=2100)
            credit.open_account(session, self.tenant_id, user_id, 3_000)  # type: ignore[arg-type]
            if alone:
                tenant.name = "former"
                session.delete(own)
        return self.service.login(email)


@pytest.fixture
def choir(service: InProcess, hashed: str, warmup: Path) -> Choir:
    return Choir(service, hashed, warmup)


def everything(service: InProcess) -> str:
    """Every row of every table, and the names and lists of all files."""
    with service.wiring.database.read() as session:
        rows = [
            f"{table.name} {tuple(row)!r}"
            for table in Base.metadata.sorted_tables
            for row in session.execute(select(table))
        ]
    lists = [path.read_text() for path in service.settings.data_dir.glob("leaving/*")]
    return "\n".join([*rows, *lists, *service.files("uploads", "output", "incoming", "leaving")]).lower()


def found(service: InProcess, *words: str) -> list[str]:
    return [row for row in everything(service).splitlines() if any(word.lower() in row for word in words)]


def login(service: InProcess, email: str) -> httpx.Response:
    return service.client.post("/api/v1/login", json={"email": email, "password": PASSWORD})


def set_password(service: InProcess, email: str, hashed: str) -> None:
    with service.wiring.database.write() as session:
        session.execute(update(User).where(User.email == email).values(password_hash=hashed))


def verified(service: InProcess) -> bool:
    with service.wiring.database.read() as session:
        return credit.verify(session) == []


def test_nothing_of_a_tenant_is_left(choir: Choir, demo: Person) -> None:
    service = choir.service
    running = lifecycle.claim(service.wiring.database, "somebody", 3000)
    assert running is not None and str(running.task_id) in (choir.waits, choir.mates, choir.guests)
    assert len(found(service, *WORDS)) > 10
    for body, status, code in (
        ({"password": "wrong password"}, 403, "password_wrong"),
        ({"name": "Choir"}, 422, "tenant_name_wrong"),
    ):
        refused = choir.erase(**body)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
    for member in (choir.mate, choir.guest):
        answer = member.post("/tenant/erase", {"password": PASSWORD, "name": "Choir of Secrets"})
        assert (answer.status_code, answer.json()["code"]) == (403, "role_needed")

    answer = choir.erase()
    assert answer.status_code == 200, answer.text
    receipt = answer.json()
    assert found(service, *WORDS, "guest.mp3") == []
    assert service.files("uploads", "output", "incoming") == []
    assert set(receipt["task_ids"]) >= {choir.done, choir.waits, choir.mates, choir.guests}
    assert choir.uploaded in receipt["upload_ids"] and receipt["bytes"] > 0 and receipt["files_removed"]
    assert receipt["counts"]["webhooks"] == receipt["counts"]["api_keys"] == 1
    assert receipt["credits"] == 9 + 10 + 3 + 3  # the demo user's and the guest's own are not among them
    assert verified(service)

    assert lifecycle.complete(service.wiring.database, running, {"song": SONG}, []) is False
    assert lifecycle.claim(service.wiring.database, "somebody", 3000) is None
    for person in (choir.owner, choir.mate, choir.guest):
        assert person.get("/me").status_code == 401
    assert [login(service, email).status_code for email in (OWNER, MATE, GUEST)] == [401, 401, 200]
    for path in (f"/tasks/{choir.done}", f"/uploads/{choir.uploaded}"):
        assert demo.delete(path).status_code == 404
    with service.wiring.database.read() as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.tenant_id == choir.tenant_id)).all()
        erased = [entry for entry in entries if entry.action == "tenant.erased"]
        assert len(erased) == 1 and not any(entry.address for entry in entries)
        people = {str(user.id): user for user in session.scalars(select(User).where(User.erased_at.is_not(None)))}
    assert set(receipt["people"]) == set(people) and len(people) == 2
    assert demo.money() == (10, 0)


def test_a_receipt_can_be_checked_and_opens_nothing(choir: Choir) -> None:
    service, given = choir.service, choir.erase().json()
    signed = given.pop("receipt")

    def check(receipt: str) -> httpx.Response:
        return service.client.post("/api/v1/erasures/verify", json={"receipt": receipt})

    assert check(signed).json() == given
    head, body, mac = signed.split(".")
    for wrong in (f"{head}.{body}.{mac[::-1]}", f"{head}.{body[:-4]}AAAA.{mac}", "no receipt", choir.owner.token):
        answer = check(wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "receipt_invalid"), wrong
    answer = service.client.get("/api/v1/me", headers={"Authorization": f"Bearer {signed}"})
    assert answer.status_code == 401


def test_a_person_goes_and_the_tenant_stays(choir: Choir) -> None:
    service, mate = choir.service, choir.mate
    with service.wiring.database.write() as session:
        row = TenantInvitation(tenant_id=choir.tenant_id, sha256="0" * 64, email=MATE, role="member")
        row.invited_by, row.expires_at = choir.owner_id, database_now(60)  # type: ignore[assignment]
        session.add(row)
    assert service.work() and service.work()  # a message about each to the tenant's webhook
    assert mate.post("/me/erase", {"password": "wrong password"}).json()["code"] == "password_wrong"
    owner = choir.owner.post("/me/erase", {"password": PASSWORD})
    assert (owner.status_code, owner.json()["code"]) == (409, "last_owner")
    answer = mate.post("/me/erase", {"password": PASSWORD})
    assert answer.status_code == 200, answer.text
    receipt = answer.json()
    assert receipt["tenants"] == [] and receipt["task_ids"] == [choir.mates]
    assert found(service, "mate@") == []
    assert login(service, MATE).status_code == 401 and mate.get("/me").status_code == 401
    assert choir.owner.task(choir.done)["status"] == "completed"
    assert len(found(service, "geheimnis")) > 3
    assert verified(service)


def test_somebody_alone_goes_with_their_tenant(service: InProcess, hashed: str, warmup: Path) -> None:
    with service.wiring.database.write() as session:
        users.create(session, "solo@example.com", hashed, granted=10_000)
    solo = service.login("solo@example.com")
    tenant_id = service.scope(solo).tenant_id
    solo.submit(solo.upload(warmup, "solo.mp3"))
    answer = solo.post("/me/erase", {"password": PASSWORD})
    assert answer.status_code == 200, answer.text
    assert answer.json()["tenants"] == [str(tenant_id)] and answer.json()["credits"] == 10
    assert found(service, "solo") == [] and service.files("uploads", "output") == []
    assert verified(service)


def test_an_invited_member_without_credits_goes(service: InProcess, demo: Person, hashed: str) -> None:
    admin = colleague(service, demo, "mate@example.com", "admin")
    set_password(service, "mate@example.com", hashed)
    invitation(admin, "friend@example.com")
    answer = admin.post("/me/erase", {"password": PASSWORD})
    assert (answer.status_code, answer.json()["credits"]) == (200, 0), answer.text
    assert demo.get("/tenant/invitations").json() == [], "who is gone invites nobody"


def test_a_tenant_does_not_keep_its_founder_s_address_for_its_name(service: InProcess, hashed: str) -> None:
    for founder, name, left in (("a", None, "unnamed"), ("b", "Studio", "Studio"), ("c", " C@Example.com", "unnamed")):
        with service.wiring.database.write() as session:
            users.create(session, f"{founder}@example.com", hashed, granted=0)
        person = service.login(f"{founder}@example.com")
        heir = colleague(service, person, f"heir-of-{founder}@example.org", "owner")
        if name is not None:
            assert person.patch("/tenant", {"name": name}).status_code == 200
        assert person.post("/me/erase", {"password": PASSWORD}).status_code == 200
        assert heir.get("/tenant").json()["name"] == left
        assert found(service, f"{founder}@example.com") == []


def test_nobody_else_s_tenant_loses_its_name(service: InProcess, demo: Person, hashed: str) -> None:
    with service.wiring.database.write() as session:
        users.create(session, "solo@example.com", hashed, granted=0)
    assert demo.patch("/tenant", {"name": "solo@example.com"}).status_code == 200
    assert service.login("solo@example.com").post("/me/erase", {"password": PASSWORD}).status_code == 200
    assert demo.get("/tenant").json()["name"] == "solo@example.com"


def test_the_last_operator_goes_with_no_tenant(service: InProcess, demo: Person) -> None:
    with service.wiring.database.write() as session:
        session.execute(update(User).where(User.email == demo.email).values(operator=True))
    body = {"password": "password123", "name": demo.get("/tenant").json()["name"]}
    answer = demo.post("/tenant/erase", body)
    assert (answer.status_code, answer.json()["code"]) == (409, "last_operator")
    document = service.client.get("/openapi.json").json()
    assert "409" in document["paths"]["/api/v1/tenant/erase"]["post"]["responses"]


def test_orders_that_are_on_their_way_leave_nothing(service: InProcess, hashed: str, warmup: Path) -> None:
    """Orders at the very moment: each is taken before the end and cancelled, or refused."""
    with service.wiring.database.write() as session:
        users.create(session, "solo@example.com", hashed, granted=100_000)
    solo = service.login("solo@example.com")
    upload_id = solo.upload(warmup, "solo.mp3")

    def act(number: int) -> int:
        if number == 6:
            return solo.post("/me/erase", {"password": PASSWORD}).status_code
        return solo.post("/separate", {"upload_id": upload_id}).status_code

    with ThreadPoolExecutor(13) as pool:
        statuses = list(pool.map(act, range(13)))
    assert statuses[6] == 200 and set(statuses) <= {200, 202, 401, 403, 404}
    assert found(service, "solo") == [] and service.files("uploads", "output") == []
    assert lifecycle.claim(service.wiring.database, "somebody", 3000) is None
    assert verified(service)


def test_a_process_that_dies_before_the_files_are_gone(choir: Choir, monkeypatch: pytest.MonkeyPatch) -> None:
    service = choir.service
    with monkeypatch.context() as dying:
        dying.setattr(removal, "finish", lambda *_: 1 / 0)
        assert choir.erase().status_code == 500
    assert service.files("uploads", "output") and found(service, "geheimnis")
    assert login(service, OWNER).status_code == 401
    retention.go_on(service.wiring)
    assert service.files("uploads", "output", "leaving") == []
    assert found(service, *WORDS) == []


def test_what_a_late_worker_puts_down_goes_too(choir: Choir) -> None:
    """It was killed between its files and the row that refused them."""
    service = choir.service
    claim = lifecycle.claim(service.wiring.database, "somebody", 3000)
    assert claim is not None
    choir.erase()
    late = service.path(f"output/Otilies_Geheimnis/{claim.task_id}/1/vocals.wav")
    late.parent.mkdir(parents=True)
    late.write_bytes(b"RIFF")
    retention.go_on(service.wiring)
    assert service.files("uploads", "output") == []
    lists = [json.loads(path.read_text()) for path in service.settings.data_dir.glob("leaving/*")]
    assert [list(each["tasks"]) for each in lists] == [[str(claim.task_id)]]

"""Coming into somebody's tenant: invitations, registering with one, and going from tenant to tenant."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, update

from backend.audit.service import COMMAND
from backend.clock import database_now
from backend.invitation.service import MOST_INVITATIONS
from backend.models import Membership, Tenant, TenantInvitation
from backend.user import service as users
from tests.colleagues import acts, colleague, id_of, invitation, roles, told
from tests.mail_server import MailServer
from tests.servers import on_both
from tests.service import PASSWORD, InProcess, MakeService, Person

GUEST = "stranger@example.com"


def accept(person: Person, code: str) -> tuple[int, str]:
    return told(person.post("/invitations/accept", {"code": code}))


def register(service: InProcess, email: str, code: str) -> httpx.Response:
    body = {"email": email, "password": PASSWORD, "invitation": code}
    return service.client.post("/api/v1/register", json=body)


def stand(service: InProcess, tenant_id: str, **values: Any) -> None:
    with service.wiring.database.write() as session:
        session.execute(update(Tenant).where(Tenant.id == UUID(tenant_id)).values(**values))


@on_both
def test_an_invitation_from_making_to_accepting(service: InProcess, demo: Person, stranger: Person) -> None:
    made = demo.post("/tenant/invitations", {"email": "Stranger@Example.com", "role": "admin"}).json()
    (listed,) = demo.get("/tenant/invitations").json()
    assert listed == {name: made[name] for name in listed}
    assert (made["email"], made["invited_by"], made["role"]) == (GUEST, id_of(demo), "admin")
    assert "code" not in listed

    answer = stranger.post("/invitations/accept", {"code": made["code"]}).json()
    tenant = demo.get("/tenant").json()
    assert answer == {"tenant_id": tenant["id"], "name": tenant["name"], "role": "admin"}
    assert roles(demo) == {"test@example.com": "owner", GUEST: "admin"}
    assert demo.get("/tenant/invitations").json() == []
    assert accept(stranger, made["code"]) == (404, "invitation_not_found"), "good once"
    assert stranger.money() == (10, 0), "what they had stays in their own tenant"

    invited, joined = acts(service, tenant["id"], "invitation.made", "member.joined")
    assert (invited.target, invited.after, invited.actor_id) == (made["id"], {"role": "admin"}, UUID(id_of(demo)))
    assert joined.target == id_of(stranger)
    assert joined.after == {"role": "admin", "invitation": made["id"]}


def test_codes_that_let_nobody_in_are_all_answered_alike(service: InProcess, demo: Person, stranger: Person) -> None:
    revoked = demo.post("/tenant/invitations", {"email": GUEST, "role": "member"}).json()
    assert demo.delete(f"/tenant/invitations/{revoked['id']}").status_code == 204
    assert told(demo.delete(f"/tenant/invitations/{revoked['id']}")) == (404, "invitation_not_found")
    assert told(stranger.delete(f"/tenant/invitations/{revoked['id']}")) == (404, "invitation_not_found")
    replaced, another_s = invitation(demo, GUEST), invitation(demo, "other@example.com")
    good = invitation(demo, GUEST)
    with service.wiring.database.write() as session:
        of_other = TenantInvitation.email == "other@example.com"
        assert session.scalars(select(TenantInvitation.role).where(of_other)).one() == "member"
    answers = [
        stranger.post("/invitations/accept", {"code": code}).json() | {"request_id": ""}
        for code in ("wrong", "\0", revoked["code"], replaced, another_s)
    ]
    expired(service)
    answers.append(stranger.post("/invitations/accept", {"code": good}).json() | {"request_id": ""})
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["code"] == "invitation_not_found"
    assert demo.get("/tenant/invitations").json() == []
    assert len(acts(service, demo.get("/tenant").json()["id"], "invitation.revoked")) == 1


def expired(service: InProcess) -> None:
    with service.wiring.database.write() as session:
        session.execute(update(TenantInvitation).values(expires_at=database_now(-1)))


def test_who_may_invite_whom(service: InProcess, demo: Person, stranger: Person) -> None:
    admin, member = (colleague(service, demo, f"{role}@example.com", role) for role in ("admin", "member"))

    def invite(by: Person, role: str, email: str = GUEST) -> tuple[int, str]:
        return told(by.post("/tenant/invitations", {"email": email, "role": role}))

    assert invite(admin, "member") == invite(demo, "admin") == (201, "")
    assert invite(admin, "admin") == invite(member, "member") == (403, "role_needed")
    assert told(member.get("/tenant/invitations")) == (403, "role_needed")
    assert invite(demo, "owner") == invite(demo, "member", "nobody") == (422, "invalid_request")
    assert invite(demo, "member", "Member@example.com") == (409, "already_member")
    key = demo.post("/keys", {"name": "all", "scopes": ["admin"]}).json()["key"]
    assert invite(Person(service.client, "", key), "admin") == (403, "login_needed"), "a stolen key lets nobody in"


def test_invitations_are_not_without_number(service: InProcess, demo: Person) -> None:
    scope = service.scope(demo)
    with service.wiring.database.write() as session:
        for number in range(MOST_INVITATIONS):
            row = TenantInvitation(tenant_id=scope.tenant_id, sha256=str(number), email=f"{number}@example.com")
            row.role, row.invited_by, row.expires_at = "member", scope.user_id, database_now(60)  # type: ignore[assignment]
            session.add(row)
    demo.delete(f"/tenant/invitations/{demo.get('/tenant/invitations').json()[0]['id']}")
    another = {"email": GUEST, "role": "member"}
    assert told(demo.post("/tenant/invitations", another)) == (409, "too_many_invitations"), (
        "revoked ones of today count"
    )
    expired(service)
    with service.wiring.database.write() as session:
        session.execute(update(TenantInvitation).values(created_at=database_now(-86_400)))
    assert demo.post("/tenant/invitations", another).status_code == 201


@on_both
def test_of_two_who_show_a_code_at_once_one_comes_in(service: InProcess, demo: Person, stranger: Person) -> None:
    code = invitation(demo, GUEST)
    others = [stranger, service.login(GUEST)]
    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(lambda person: accept(person, code)[0], others))
    assert answers[0] == 200
    assert answers[1] in (404, 409)
    assert len(acts(service, demo.get("/tenant").json()["id"], "member.joined")) == 1


def test_invitations_of_who_is_deactivated_end(service: InProcess, demo: Person, stranger: Person) -> None:
    admin = colleague(service, demo, "admin@example.com", "admin")
    code, owner_s = invitation(admin, GUEST), invitation(demo, "other@example.com")
    with service.wiring.database.write() as session:
        assert users.set_active(session, COMMAND, UUID(id_of(admin)), False, None)
    assert accept(stranger, code) == (404, "invitation_not_found")
    assert register(service, "other@example.com", owner_s).status_code == 201


def test_a_code_that_is_not_good_is_refused_although_none_is_needed(service: InProcess, demo: Person) -> None:
    code = invitation(demo, GUEST)
    for email, shown in (("other@example.com", code), (GUEST, "garbage")):
        assert told(register(service, email, shown)) == (403, "invitation_refused")
        assert told(service.client.post("/api/v1/login", json={"email": email, "password": PASSWORD}))[0] == 401
    assert register(service, "alone@example.com", "").status_code == 201, "an empty field is none"
    assert register(service, GUEST, code).status_code == 201


def test_registering_with_an_invitation_where_registering_is_closed(make_service: MakeService) -> None:
    service = make_service(auth={"registration": False, "invitation_only": True})
    demo = service.login()
    code = invitation(demo, "new@example.com")
    assert told(register(service, "other@example.com", code)) == (403, "registration_closed")
    answer = register(service, "New@example.com", code)
    assert answer.status_code == 201, answer.text
    new = Person(service.client, "", answer.json()["access_token"])
    me = new.get("/me").json()
    assert (me["tenant_id"], me["role"], me["credits"]) == (demo.get("/me").json()["tenant_id"], "member", 0)
    assert [place["current"] for place in new.get("/tenants").json()] == [True], "no tenant of their own"
    assert told(register(service, "new@example.com", code)) == (403, "registration_closed"), "good once"
    (joined,) = acts(service, me["tenant_id"], "member.joined")
    assert (joined.actor_id, joined.address) == (UUID(me["id"]), "127.0.0.1")

    taken = invitation(demo, "stranger@example.com")
    service.register("stranger@example.com")
    assert told(register(service, "stranger@example.com", taken)) == (409, "email_taken")
    assert accept(service.login("stranger@example.com"), taken) == (200, ""), "not used up by that"


@pytest.mark.parametrize("column", ["suspended_at", "erased_at"])
def test_nobody_comes_into_a_tenant_that_is_stopped(make_service: MakeService, column: str) -> None:
    service = make_service(auth={"registration": False})
    demo, stranger = service.login(), service.register(GUEST)
    tenant_id = demo.get("/tenant").json()["id"]
    member = colleague(service, demo, "member@example.com")
    home = colleague(service, stranger, "other@example.com")
    assert accept(home, invitation(demo, "other@example.com")) == (200, "")
    code, new = invitation(demo, GUEST), invitation(demo, "new@example.com")

    stand(service, tenant_id, **{column: database_now()})
    assert accept(stranger, code) == (404, "invitation_not_found")
    assert told(register(service, "new@example.com", new)) == (403, "registration_closed")
    assert told(home.post(f"/tenants/{tenant_id}/switch")) == (404, "tenant_not_found")
    if column == "suspended_at":
        assert told(member.get("/me")) == (403, "tenant_suspended")
        assert [place["suspended"] for place in home.get("/tenants").json()] == [False, True]
        stand(service, tenant_id, suspended_at=None)
        assert accept(stranger, code) == (200, "")
    else:
        assert len(home.get("/tenants").json()) == 1


@on_both
def test_going_to_another_tenant(service: InProcess, demo: Person, stranger: Person) -> None:
    accept(stranger, invitation(demo, GUEST))
    home, there = stranger.get("/tenants").json()
    assert (home["current"], home["role"], there["current"], there["role"]) == (True, "owner", False, "member")
    for nobody_s in (str(uuid4()), "x"):
        assert told(stranger.post(f"/tenants/{nobody_s}/switch")) == (404, "tenant_not_found")
    assert told(demo.post(f"/tenants/{home['tenant_id']}/switch")) == (404, "tenant_not_found")

    tokens = stranger.post(f"/tenants/{there['tenant_id']}/switch").json()
    moved = Person(service.client, GUEST, tokens["access_token"])
    me = moved.get("/me").json()
    assert (me["tenant_id"], me["role"], me["credits"]) == (there["tenant_id"], "member", 0)
    assert told(stranger.get("/me")) == (401, "token_invalid"), "one login, in one place"
    renewed = service.client.post("/api/v1/refresh", json={"refresh_token": tokens["refresh_token"]}).json()
    again = Person(service.client, GUEST, renewed["access_token"])
    assert again.get("/me").json() == me
    assert service.login(GUEST).get("/me").json()["tenant_id"] == home["tenant_id"], "a login starts at home"
    assert len(acts(service, there["tenant_id"], "login.switched")) == 1

    (back,) = (place for place in again.get("/tenants").json() if not place["current"])
    assert again.post(f"/tenants/{back['tenant_id']}/switch").status_code == 200


def test_a_login_enters_the_first_tenant_that_works(service: InProcess, demo: Person, stranger: Person) -> None:
    accept(stranger, invitation(demo, GUEST))
    home, there = (place["tenant_id"] for place in stranger.get("/tenants").json())
    stand(service, home, suspended_at=database_now())
    assert service.login(GUEST).get("/me").json()["tenant_id"] == there
    stand(service, home, suspended_at=None, erased_at=database_now())
    assert service.login(GUEST).get("/me").json()["tenant_id"] == there
    with service.wiring.database.read() as session:
        assert len(session.scalars(select(Membership.tenant_id)).all()) == 3


def test_the_letter_has_the_code_and_nobody_gets_many(make_service: MakeService, mail_server: MailServer) -> None:
    service = make_service(mail=mail_server.settings | {"link_base": "https://songs.example.com"})
    demo, stranger = service.login(), service.register(GUEST)
    answers = [demo.post("/tenant/invitations", {"email": GUEST, "role": "member"}).json() for _ in range(4)]
    sent = [answer["sent"] for answer in answers]
    assert sent[0] is True and sent[-1] is False
    letters = [str(letter.get_content()) for letter in mail_server.letters(sent.count(True), GUEST)]
    assert f"https://songs.example.com/invitation#code={answers[0]['code']}" in letters[0]
    assert "test@example.com invites you" in letters[0]
    assert accept(stranger, answers[-1]["code"]) == (200, ""), "what was not sent was shown"

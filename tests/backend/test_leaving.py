"""Who leaves a tenant or is removed: what ends, what stays, and where their credits go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from backend.audit.service import COMMAND
from backend.auth.password import hash_password
from backend.credit import service as credit
from backend.member import service as members
from backend.models import Membership, User
from backend.task import lifecycle
from backend.task import service as tasks
from backend.tenant.service import MembershipEnded
from backend.user import service as users
from tests.colleagues import Told, acts, colleague, give, id_of, invitation, logins, roles, said, told
from tests.operators import operator
from tests.processes import wait_until
from tests.servers import on_both, waiting
from tests.service import PASSWORD, InProcess, Person


@pytest.fixture
def member(service: InProcess, demo: Person) -> Person:
    return colleague(service, demo, "member@example.com")


@on_both
def test_what_ends_with_a_membership_and_what_stays(
    service: InProcess, demo: Person, member: Person, warmup: Path
) -> None:
    give(service, demo, member, 5000)
    them = id_of(member)
    song = member.upload(warmup)
    finished, running, waiting = (member.submit(song) for _ in range(3))
    assert service.work()
    links = member.get(f"/tasks/{finished}").json()
    key = member.post("/keys", {"name": "studio", "scopes": ["read"]}).json()["key"]
    claim = lifecycle.claim(service.wiring.database, "a worker", 60)
    assert claim is not None and str(claim.task_id) == running

    answer = demo.delete(f"/tenant/members/{them}")
    assert answer.json() == {"user_id": them, "cancelled_tasks": 2, "credits": 4, "credits_to": id_of(demo)}
    assert (demo.money(), logins(service, demo)) == ((9, 0), 1)
    assert {service.row(each).status for each in (running, waiting)} == {"cancelled"}
    assert lifecycle.renew(service.wiring.database, claim, 60, 0.5, "separate") is False, "the worker is told"
    assert not lifecycle.complete(service.wiring.database, claim, {}, [])

    for path in ("/me", f"/tasks/{finished}"):
        assert told(member.get(path)) == (401, "token_invalid")
        assert service.client.get(f"/api/v1{path}", headers={"Authorization": f"Key {key}"}).status_code == 401
    assert told(service.client.get(links["archive_url"])) == (401, "link_invalid")
    assert service.client.post("/api/v1/refresh", json={"refresh_token": member.refresh_token}).status_code == 401
    records = demo.get("/tenant/tasks").json()
    assert [(row["task_id"], row["email"]) for row in records][-1] == (finished, "member@example.com")

    (entry,) = acts(service, demo.get("/tenant").json()["id"], "member.removed")
    after = {"cancelled_tasks": 2, "millicredits": 4000, "credits_to": id_of(demo)}
    assert said(entry) == (them, {"role": "member"}, after)


def test_who_comes_back_finds_none_of_the_old_logins_and_keys(service: InProcess, demo: Person, member: Person) -> None:
    key = member.post("/keys", {"name": "studio", "scopes": ["read"]}).json()["key"]
    demo.delete(f"/tenant/members/{id_of(member)}")
    again = anew(service, "member@example.com")
    code = invitation(demo, "member@example.com")
    assert told(again.post("/invitations/accept", {"code": code})) == (200, "")
    assert told(member.get("/me")) == (401, "token_invalid")
    assert service.client.get("/api/v1/me", headers={"Authorization": f"Key {key}"}).status_code == 401


def test_an_admin_removes_members_only(service: InProcess, demo: Person, member: Person) -> None:
    give(service, demo, member, 1000)
    admin = colleague(service, demo, "admin@example.com", "admin")
    other = colleague(service, demo, "other@example.com", "admin")
    for person in (demo, other):
        assert told(admin.delete(f"/tenant/members/{id_of(person)}")) == (403, "role_needed")
    assert told(member.delete(f"/tenant/members/{id_of(other)}")) == (403, "role_needed")
    answer = admin.delete(f"/tenant/members/{id_of(member)}").json()
    assert (answer["credits"], answer["credits_to"]) == (1, id_of(demo)), "not to the admin"
    assert told(admin.delete(f"/tenant/members/{answer['user_id']}")) == (404, "member_not_found")
    assert roles(admin) == {"test@example.com": "owner", "admin@example.com": "admin", "other@example.com": "admin"}


def test_an_owner_who_removes_another_gets_their_credits(service: InProcess, demo: Person) -> None:
    second = colleague(service, demo, "second@example.com", "owner")
    assert second.delete(f"/tenant/members/{id_of(demo)}").json()["credits_to"] == id_of(second)
    assert second.money() == (10, 0)


def deactivate(service: InProcess, person: Person) -> None:
    them = UUID(id_of(person))
    with service.wiring.database.write() as session:
        assert users.set_active(session, COMMAND, them, False, None)


@on_both
def test_who_is_deactivated_is_no_other_owner(service: InProcess, demo: Person, member: Person) -> None:
    give(service, demo, member, 1000)
    second, third = (colleague(service, demo, f"{name}@example.com", "owner") for name in ("second", "third"))
    deactivate(service, second)
    assert told(demo.post("/tenant/leave")) == (200, "")
    assert third.money()[0] == 9, "not to who can't log in, although they came first"
    them = id_of(third)
    assert told(third.post("/tenant/leave")) == (409, "last_owner")
    assert told(third.patch(f"/tenant/members/{them}", {"role": "admin"})) == (409, "last_owner")
    set_password(service, "third@example.com")
    assert told(third.post("/me/erase", {"password": PASSWORD})) == (409, "last_owner")
    deactivate(service, third)
    answer = member.post("/tenant/leave")
    assert (answer.status_code, answer.json()["credits"]) == (200, 1), "members may go all the same"


@on_both
def test_what_people_left_is_the_owners_and_admins_to_delete(
    service: InProcess, demo: Person, member: Person, stranger: Person, warmup: Path
) -> None:
    give(service, demo, member, 2000)
    admin = colleague(service, demo, "admin@example.com", "admin")
    other = colleague(service, demo, "other@example.com")
    song = member.upload(warmup, "left.mp3")
    tasks = [member.submit(song) for _ in range(2)]
    assert service.work()
    paths = [*(f"/tasks/{each}" for each in tasks), f"/uploads/{song}"]
    for person in (demo, admin, other, stranger):
        assert {person.delete(path).status_code for path in paths} == {404}, "while they are in"
    them = id_of(member)
    demo.delete(f"/tenant/members/{them}")
    for person in (other, stranger):
        assert {person.delete(path).status_code for path in paths} == {404}

    (listed,) = admin.get("/tenant/uploads", params={"user_id": them}).json()
    assert (listed["upload_id"], listed["filename"], listed["email"]) == (song, "left.mp3", "member@example.com")
    assert told(other.get("/tenant/uploads")) == (403, "role_needed")
    assert stranger.get("/tenant/uploads").json() == []
    used = demo.get("/tenant").json()["used"]["storage_bytes"]
    assert used > 0
    assert [admin.delete(path).status_code for path in paths] == [204, 204, 204]
    assert [demo.delete(path).status_code for path in paths] == [404, 404, 404]
    assert demo.get("/tenant").json()["used"]["storage_bytes"] == 0
    assert service.files("uploads", "output") == []
    written = acts(service, demo.get("/tenant").json()["id"], "task.deleted", "upload.deleted")
    assert [said(entry) for entry in written] == [(each, {"user_id": them}, None) for each in (*tasks, song)]


def test_leaving(service: InProcess, demo: Person, member: Person) -> None:
    give(service, demo, member, 1500)
    them = id_of(member)
    codes = colleague(service, demo, "admin@example.com", "admin")
    assert told(codes.post("/tenant/leave")) == (200, "")
    answer = member.post("/tenant/leave").json()
    assert answer == {"user_id": them, "cancelled_tasks": 0, "credits": 1.5, "credits_to": id_of(demo)}
    assert told(member.get("/me")) == (401, "token_invalid")
    entry = acts(service, demo.get("/tenant").json()["id"], "member.left")[-1]
    assert (entry.actor_id, entry.target) == (UUID(them), them)


def test_invitations_of_who_goes_or_steps_down_end(service: InProcess, demo: Person) -> None:
    for email, act in (("one@example.com", "leave"), ("two@example.com", "step down")):
        admin = colleague(service, demo, email, "admin")
        code = invitation(admin, f"friend-of-{email}")
        friend = service.register(f"friend-of-{email}")
        if act == "leave":
            admin.post("/tenant/leave")
        else:
            admin.patch(f"/tenant/members/{id_of(admin)}", {"role": "member"})
        assert told(friend.post("/invitations/accept", {"code": code})) == (404, "invitation_not_found")


@on_both
def test_who_is_in_no_tenant_gets_one_with_the_next_login(service: InProcess, demo: Person, member: Person) -> None:
    set_password(service, "member@example.com")
    demo.delete(f"/tenant/members/{id_of(member)}")
    body = {"email": "member@example.com", "password": PASSWORD}
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: service.client.post("/api/v1/login", json=body), range(2)))
    me = [Person(service.client, "", answer.json()["access_token"]).get("/me").json() for answer in answers]
    assert me[0] == me[1], "one tenant, not two"
    assert (me[0]["role"], me[0]["credits"], me[0]["tenant_name"]) == ("owner", 0, "member@example.com")
    assert len(acts(service, me[0]["tenant_id"], "tenant.created")) == 1


@on_both
@pytest.mark.parametrize("how", ["each leaves", "each removes the other", "each demotes the other"])
def test_of_two_last_owners_who_go_at_once_one_stays(service: InProcess, demo: Person, how: str) -> None:
    second = colleague(service, demo, "second@example.com", "owner")
    pairs = [(demo, id_of(second)), (second, id_of(demo))]

    def act(pair: tuple[Person, str]) -> int:
        person, other = pair
        if how == "each leaves":
            return person.post("/tenant/leave").status_code
        if how == "each removes the other":
            return person.delete(f"/tenant/members/{other}").status_code
        return person.patch(f"/tenant/members/{other}", {"role": "member"}).status_code

    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(act, pairs))
    assert answers[0] in (200, 204)
    assert answers[1] in (401, 403, 409)
    with service.wiring.database.read() as session:
        tenant_id = session.scalars(select(Membership.tenant_id)).first()
        left = session.scalars(select(Membership.role).where(Membership.tenant_id == tenant_id)).all()
    assert left.count("owner") == 1


@on_both
@pytest.mark.parametrize("how", ["transfer", "grant"])
def test_credits_on_their_way_to_who_is_leaving_stay_where_they_are(
    service: InProcess, demo: Person, member: Person, how: str
) -> None:
    """Else they would lie in an account that nobody can reach."""
    chief, them, database = operator(service), service.scope(member), service.wiring.database
    tenant_id, user_id = str(them.tenant_id), str(them.user_id)

    def pay() -> Told:
        if how == "transfer":
            return told(demo.post("/credits/transfers", {"to_user_id": user_id, "credits": 1}))
        body = {"credits": 1, "reason": "thanks", "tenant_id": tenant_id}
        return told(chief.post(f"/admin/users/{user_id}/grants", body))

    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            members.leave(session, COMMAND, them)
            paid = pool.submit(pay)
            wait_until(lambda: waiting(database) or paid.done())
        assert paid.result() == (404, "member_not_found" if how == "transfer" else "user_not_found")
    with database.read() as session:
        assert credit.balance(session, them) == (0, 0)
        assert credit.verify(session) == []
    assert demo.money() == (10, 0)


def test_an_order_on_its_way_while_its_sender_is_removed_leaves_nothing(
    service: InProcess, demo: Person, member: Person, warmup: Path
) -> None:
    give(service, demo, member, 1000)
    scope = service.scope(member)
    task = member.submit(member.upload(warmup))
    member.post(f"/tasks/{task}/cancel")
    demo.delete(f"/tenant/members/{scope.user_id}")
    with pytest.raises(MembershipEnded):  # let in before, so past every check of the login
        tasks.retry(service.wiring, scope, UUID(task))
    assert len(demo.get("/tenant/tasks").json()) == 1


def set_password(service: InProcess, email: str) -> None:
    with service.wiring.database.write() as session:
        user = users.by_email(session, email)
        assert user is not None
        assert users.change_password(session, user, hash_password(PASSWORD))


def anew(service: InProcess, email: str) -> Person:
    """Somebody without a tenant logs in."""
    with service.wiring.database.write() as session:
        user = session.scalars(select(User).where(User.email == email)).one()
        users.enter(session, user)
    return service.login(email)

"""A tenant as its people see it: settings, roles, each other's records, and going from one to another."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.colleagues import acts, colleague, give, id_of, roles, said, told
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person


@pytest.fixture
def admin(service: InProcess, demo: Person) -> Person:
    return colleague(service, demo, "admin@example.com", "admin")


@pytest.fixture
def member(service: InProcess, demo: Person) -> Person:
    return colleague(service, demo, "member@example.com")


def test_everybody_sees_their_tenant(demo: Person, member: Person) -> None:
    for person, role in ((demo, "owner"), (member, "member")):
        seen, me = person.get("/tenant").json(), person.get("/me").json()
        assert (seen["id"], seen["name"], seen["role"]) == (me["tenant_id"], me["tenant_name"], role) and role == me[
            "role"
        ]
        assert (seen["members"], seen["plan"], seen["shares_audio"]) == (2, "standard", False)
        assert (seen["retention_days"], seen["used"]["queued"]) == (None, 0)
        assert (me["operator"], me["impersonated"]) == (False, False)


@on_both
def test_settings_are_changed_and_written_down(service: InProcess, demo: Person) -> None:
    answer = demo.patch("/tenant", {"name": " Studio One ", "retention_days": 30, "shares_audio": True})
    seen = answer.json()
    assert (seen["name"], seen["retention_days"], seen["shares_audio"]) == ("Studio One", 30, True)
    assert seen["retention_days_in_force"] == 30
    assert demo.patch("/tenant", {"name": None, "shares_audio": None}).json() == seen | {"used": seen["used"]}
    assert demo.patch("/tenant", {"retention_days": None}).json()["retention_days"] is None
    first, second = acts(service, seen["id"], "tenant.changed")
    assert first.after == {"name": "…", "retention_days": 30, "shares_audio": True}
    assert first.before is not None and first.before["shares_audio"] is False
    assert (first.actor_id, first.request_id) == (UUID(id_of(demo)), answer.headers["x-request-id"])
    assert said(second) == (seen["id"], {"retention_days": 30}, {"retention_days": None})


def test_the_operator_s_retention_holds_where_it_is_shorter(make_service: MakeService) -> None:
    demo = make_service(tenant={"retention_days": 20}).login()
    for own, in_force in ((None, 20), (10, 10), (30, 20)):
        assert demo.patch("/tenant", {"retention_days": own}).json()["retention_days_in_force"] == in_force


def test_settings_that_can_t_be(demo: Person) -> None:
    wrong: list[dict[str, object]] = [{"name": name} for name in ("", " ", "a\nb", "x" * 101)]
    wrong += [{"retention_days": days} for days in (0, "9", 1.5)]
    for each in (*wrong, {"plan": "gold"}, {"shares_audio": 1}, {"suspended_at": None}):
        assert told(demo.patch("/tenant", each)) == (422, "invalid_request"), each


def test_who_may_change_settings(demo: Person, admin: Person, member: Person) -> None:
    assert told(admin.patch("/tenant", {"name": "Ours", "shares_audio": False})) == (200, "")
    assert told(admin.patch("/tenant", {"shares_audio": True})) == (403, "role_needed")
    assert told(member.patch("/tenant", {"name": "Mine"})) == (403, "role_needed")
    assert demo.get("/tenant").json()["name"] == "Ours"


def test_members_are_listed_page_by_page(demo: Person, admin: Person, member: Person, stranger: Person) -> None:
    everybody = {"test@example.com": "owner", "admin@example.com": "admin", "member@example.com": "member"}
    assert roles(member) == everybody
    first = member.get("/tenant/members", params={"limit": 2})
    rest = member.get(first.links["next"]["url"].removeprefix("/api/v1"))
    assert {row["email"] for row in first.json() + rest.json()} == set(everybody)
    assert (len(first.json()), "next" in rest.links) == (2, False)
    assert roles(stranger) == {"stranger@example.com": "owner"}


@on_both
def test_an_owner_may_make_owners_and_unmake_them(service: InProcess, demo: Person, member: Person) -> None:
    them = id_of(member)
    for role in ("owner", "owner", "admin", "member"):
        assert told(demo.patch(f"/tenant/members/{them}", {"role": role})) == (204, "")
        assert member.get("/me").json()["role"] == role, "from the next request on"
    written = acts(service, demo.get("/tenant").json()["id"], "member.role_changed")
    assert [(entry.before, entry.after) for entry in written] == [
        ({"role": "member"}, {"role": "owner"}),
        ({"role": "owner"}, {"role": "admin"}),
        ({"role": "admin"}, {"role": "member"}),
    ]
    assert {(entry.actor_id, entry.target) for entry in written} == {(UUID(id_of(demo)), them)}


def test_who_is_no_owner_makes_nobody_more(demo: Person, admin: Person, member: Person) -> None:
    people = {"owner": id_of(demo), "admin": id_of(admin), "member": id_of(member)}
    for who, role in (
        ("owner", "member"),
        ("admin", "owner"),
        ("member", "admin"),
        ("member", "owner"),
    ):
        assert told(admin.patch(f"/tenant/members/{people[who]}", {"role": role})) == (403, "role_needed"), (who, role)
    for who in people:
        assert told(member.patch(f"/tenant/members/{people[who]}", {"role": "owner"})) == (403, "role_needed")
    assert told(admin.patch(f"/tenant/members/{people['admin']}", {"role": "member"})) == (204, "")
    assert told(admin.patch(f"/tenant/members/{people['admin']}", {"role": "admin"})) == (403, "role_needed")
    assert sorted(roles(demo).values()) == ["member", "member", "owner"]


def test_the_last_owner_stays_one(demo: Person, member: Person) -> None:
    myself = id_of(demo)
    assert told(demo.patch(f"/tenant/members/{myself}", {"role": "admin"})) == (409, "last_owner")
    assert told(demo.post("/tenant/leave")) == told(demo.delete(f"/tenant/members/{myself}")) == (409, "last_owner")
    demo.patch(f"/tenant/members/{id_of(member)}", {"role": "owner"})
    assert told(demo.patch(f"/tenant/members/{myself}", {"role": "member"})) == (204, "")


def test_a_stranger_is_nobody_here(demo: Person, stranger: Person) -> None:
    for who in (id_of(stranger), str(uuid4()), "x"):
        assert told(demo.patch(f"/tenant/members/{who}", {"role": "admin"})) == (404, "member_not_found")
        assert told(demo.delete(f"/tenant/members/{who}")) == (404, "member_not_found")


def test_an_admin_sees_everybody_s_records_and_hears_them_where_that_is_switched_on(
    service: InProcess, demo: Person, admin: Person, member: Person, stranger: Person, warmup: Path
) -> None:
    give(service, demo, member, 2000)
    theirs = member.submit(member.upload(warmup, "solo.mp3"))
    mine = demo.submit(demo.upload(warmup))
    assert service.work()
    assert service.work()

    (own, other) = admin.get("/tenant/tasks").json()
    assert (own["task_id"], own["email"]) == (mine, "test@example.com")
    assert (other["task_id"], other["user_id"], other["email"]) == (theirs, id_of(member), "member@example.com")
    assert (other["status"], other["filename"], other["stems"]) == ("completed", "solo.mp3", [])
    for path in ("", "/stems/vocals", "/archive"):
        assert told(admin.get(f"/tasks/{theirs}{path}")) == (404, "task_not_found")

    demo.patch("/tenant", {"shares_audio": True})
    stem = admin.get("/tenant/tasks", params={"user_id": id_of(member)}).json()[0]["stems"][0]
    assert admin.get(f"/tasks/{theirs}/stems/{stem['name']}").headers["etag"] == f'"{stem["sha256"]}"'
    assert admin.client.get(stem["url"]).status_code == 200
    assert admin.get(f"/tasks/{theirs}/archive").status_code == 200
    link = admin.get(f"/tasks/{theirs}").json()["archive_url"]
    assert told(admin.delete(f"/tasks/{theirs}")) == (404, "task_not_found"), "to hear is not to delete"
    assert told(member.get(f"/tasks/{mine}")) == told(stranger.get(f"/tasks/{theirs}")) == (404, "task_not_found")

    demo.patch("/tenant", {"shares_audio": False})
    assert told(admin.client.get(link)) == told(admin.client.get(stem["url"])) == (404, "task_not_found")


def test_records_are_filtered_and_paged(demo: Person, member: Person, stranger: Person, warmup: Path) -> None:
    song = demo.upload(warmup)
    tasks = [demo.submit(song) for _ in range(3)]
    demo.post(f"/tasks/{tasks[0]}/cancel")

    def seen(**params: str | int) -> list[str]:
        return [row["task_id"] for row in demo.get("/tenant/tasks", params=params).json()]

    assert seen() == tasks[::-1]
    assert seen(status="cancelled") == tasks[:1]
    assert seen(user_id=id_of(member)) == seen(user_id=id_of(stranger)) == []
    first = demo.get("/tenant/tasks", params={"limit": 2})
    rest = demo.get(first.links["next"]["url"].removeprefix("/api/v1")).json()
    assert [row["task_id"] for row in first.json() + rest] == tasks[::-1]
    assert told(member.get("/tenant/tasks")) == (403, "role_needed")
    assert stranger.get("/tenant/tasks").json() == []

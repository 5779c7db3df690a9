"""`vocal-remover admin` on the database of a service that runs."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from backend.models import AuditEntry
from cli.admin import app
from cli.people import app as people_app
from tests.operators import send
from tests.service import InProcess, Person


@pytest.fixture(autouse=True)
def _same_database(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VR_DB__URL", service.settings.database_url)
    monkeypatch.setenv("VR_DATA_DIR", str(service.settings.data_dir))


def command(*words: str, fails: bool = False, program: Any = app) -> Result:
    result = CliRunner().invoke(program, words)
    assert result.exit_code == fails, result.output
    return result


def shown(*words: str) -> Any:
    return json.loads(command(*words, "--json").stdout)


def test_an_operator_is_made_here(service: InProcess, demo: Person) -> None:
    assert demo.get("/admin/overview").status_code == 403
    command("operator", "add", demo.email)
    assert demo.get("/admin/overview").status_code == 200
    assert [row["email"] for row in shown("operator", "list")] == [demo.email]
    assert shown("operator", "list") == shown("users", "--status", "operator")
    assert "last operator" in command("operator", "remove", demo.email, fails=True).output
    command("operator", "add", service.register("second@example.com").email)
    command("operator", "remove", demo.email)
    assert demo.get("/me").status_code == 401, "logged out"


def test_a_tenant_from_here(service: InProcess, demo: Person) -> None:
    command("suspend", demo.email, "unpaid")
    assert demo.get("/me").json()["code"] == "tenant_suspended"
    (found,) = shown("tenants", "--status", "suspended")
    command("resume", found["id"])
    assert demo.get("/me").status_code == 200
    command("plan", found["id"], "priority")
    command("limits", "set", demo.email, "--requests", "7 per hour", "--concurrent-tasks", "2")
    command("limits", "set", demo.email, "--unset", "requests")
    command("grant", demo.email, "2.5", "--reason", "a [red]present", "--days", "3")
    (seen,) = shown("tenant", "show", demo.email)
    assert (seen["plan"], seen["credits"]) == ("priority", 12.5)
    assert (seen["limits"]["requests"], seen["limits"]["concurrent_tasks"]) == (None, 2)
    assert demo.email in command("tenant", "show", demo.email).stdout
    printed = command("audit", "--tenant", demo.email).stdout
    for action in ("tenant.suspended", "tenant.resumed", "tenant.plan_changed", "credits.granted", "a [red]present"):
        assert action in printed
    assert {row["by"] for row in shown("audit", "--tenant", demo.email)} == {"command"}
    (last,) = shown("audit", "--lines", "1")
    assert last["action"] == "credits.granted"


def test_a_person_from_here(demo: Person) -> None:
    command("deactivate", demo.email, "spam")
    assert demo.get("/me").status_code == 401
    command("activate", demo.email)
    (entry,) = shown("audit", "--action", "user.deactivated")
    assert entry["reason"] == "spam"


def test_settings_from_here(service: InProcess, demo: Person) -> None:
    command("settings", "set", "credit.price", "2000")
    command("settings", "set", "limit.separate", "5 per minute")
    service.wiring.running.look()
    assert demo.get("/credits").json()["price"] == 2
    changed = {row["name"]: row["value"] for row in shown("settings", "list") if row["changed"]}
    assert changed == {"credit.price": 2000, "limit.separate": "5 per minute"}
    assert "credit.price" in command("settings", "list").stdout
    command("settings", "unset", "credit.price")
    assert "no rate limit" in command("settings", "set", "limit.separate", "often", fails=True).output
    command("settings", "set", "auth.secret", "x", fails=True)


def test_what_is_not_there_is_said(demo: Person) -> None:
    for words in (
        ("suspend", "nobody@example.com", "unpaid"),
        ("suspend", str(uuid4()), "unpaid"),
        ("resume", "x"),
        ("plan", demo.email, "gold"),
        ("operator", "add", "nobody@example.com"),
        ("limits", "set", demo.email, "--requests", "often"),
    ):
        result = command(*words, fails=True)
        assert result.output.endswith(".\n"), result.output


def test_the_older_commands_leave_entries_too(service: InProcess, demo: Person) -> None:
    for words in (
        ("add", "new@example.com", "--password", "a long pass phrase"),
        ("grant", demo.email),
        ("plan", demo.email, "priority"),
        ("invite", "--email", "guest@example.com"),
        ("logout", demo.email),
    ):
        command(*words, program=people_app)
    with service.wiring.database.read() as session:
        rows = list(session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(5)))
    assert [row.action for row in reversed(rows)] == [
        "user.created",
        "credits.granted",
        "tenant.plan_changed",
        "invitation.made",
        "logins.ended",
    ]
    assert {row.actor_kind for row in rows} == {"command"}
    written = json.dumps([[row.before, row.after, row.reason, row.target] for row in rows])
    assert "@" not in written, "the log names people by their ids"
    assert send(demo, "GET", "/me").status_code == 401

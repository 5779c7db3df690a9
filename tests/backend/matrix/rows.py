"""The matrix's rows: every route of the API with a call of it that succeeds.

The tests try each row as its owner first, then as everybody who must not get in. A route without a row fails them.

To add one, write a `Row` in the section of its domain:

- `path` as the document has it, without `/api/v1`; `success` is the status that the owner gets.
- `of` makes the thing that the route is about: a function of `tests.backend.matrix.things`, which returns its ids by
  the names that `{…}` has for them in the path and the body. A route that is about no single thing has no `of`; the
  test is then that nobody is shown anything of the owner's.
- `json`, `form` and `file` are what is sent. `{…}` in them is an id of the thing, or one of the words of `WORDS` in
  `tests.backend.matrix.world`, which are the sender's own: `{email}`, `{password}`, …
- `fixed` gives the parts of the path that are no ids, such as a stem's name.
- `role` is the least that the route asks for; whoever has less gets 403.
- `shared` where other members of the tenant get it as well.
- `open` where the document asks for no login; `ends_login` where the call ends the sender's own: then another login of
  the owner's makes it or, where it is about no thing, somebody who joined for it.

A route that takes a thing in several ways has a row for each, told apart by `way`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from tests.backend.matrix import things
from tests.backend.matrix.things import Maker

Role = Literal["member", "admin", "owner", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)
PREFIX = "/api/v1"
PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Row:
    method: str
    path: str
    success: int
    of: Maker | None = None
    json: Any = None
    form: Mapping[str, str] | None = None
    file: bool = False
    fixed: Mapping[str, str] = field(default_factory=dict)
    role: Role = "member"
    shared: bool = False
    open: bool = False
    ends_login: bool = False
    way: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path.removeprefix(PREFIX)}{self.way and f' ({self.way})'}"

    @property
    def route(self) -> tuple[str, str]:
        return self.method, self.path

    @property
    def changes(self) -> bool:
        """Then every call gets a thing of its own."""
        return self.method not in ("GET", "HEAD")

    @property
    def places(self) -> set[str]:
        """The names in braces."""
        return set(PLACE.findall(f"{self.path} {self.json} {dict(self.form or {})}"))

    @property
    def lesser_roles(self) -> tuple[Role, ...]:
        return ROLES[: ROLES.index(self.role)]


_API = (
    # accounts and logins
    Row("POST", "/login", 200, json={"email": "{email}", "password": "{password}"}, open=True),
    Row("POST", "/token", 200, form={"username": "{email}", "password": "{password}"}, open=True),
    Row("POST", "/register", 201, json={"email": "{new_email}", "password": "{password}"}, open=True),
    Row("POST", "/refresh", 200, json={"refresh_token": "{refresh_token}"}, open=True),
    Row("GET", "/sessions", 200),
    Row("DELETE", "/sessions/{session_id}", 204, things.login),
    Row("POST", "/logout", 204, ends_login=True),
    Row("POST", "/logout/everywhere", 204, json={"keys": True}, ends_login=True),
    Row(
        "POST",
        "/password",
        200,
        json={"current_password": "{password}", "new_password": "{password}"},
        ends_login=True,
    ),
    Row("POST", "/password/forgotten", 202, json={"email": "{email}"}, open=True),
    Row(
        "POST",
        "/password/reset",
        204,
        json={"token": "{reset_token}", "new_password": "{password}"},
        open=True,
        ends_login=True,
    ),
    Row("POST", "/email/verification", 202),
    Row("POST", "/email/verify", 204, json={"token": "{verify_token}"}, open=True),
    Row("GET", "/me", 200),
    Row("POST", "/me/erase", 200, json={"password": "{password}"}, ends_login=True),
    Row(
        "POST",
        "/tenant/erase",
        200,
        json={"password": "{password}", "name": "{tenant_name}"},
        role="owner",
        ends_login=True,
    ),
    Row("POST", "/erasures/verify", 200, json={"receipt": "{receipt}"}, open=True),
    # keys
    Row("GET", "/keys", 200),
    Row("POST", "/keys", 201, json={"name": "studio", "scopes": ["read"]}),
    Row("DELETE", "/keys/{key_id}", 204, things.key),
    # songs
    Row("POST", "/uploads", 201, file=True),
    Row(
        "POST",
        "/upload-links",
        409,
        json={"filename": "song.mp3", "size": 1, "sha256": "0" * 64},
        way="no links to a folder",
    ),
    Row("POST", "/upload-links/complete", 409, json={"ticket": "none"}, way="no links to a folder"),
    Row("GET", "/uploads", 200),
    Row("DELETE", "/uploads/{upload_id}", 204, things.upload),
    # tasks
    Row("POST", "/separate", 202, json={"filename": "warmup.mp3"}, way="sample library"),
    Row("POST", "/separate", 202, things.upload, {"upload_id": "{upload_id}"}),
    Row("POST", "/separate", 202, things.upload, {"filename": "{filename}"}, way="filename"),
    Row("POST", "/tasks", 202, things.upload, {"upload_ids": ["{upload_id}"]}),
    Row("GET", "/history", 200),
    Row("GET", "/status/{task_id}", 200, things.completed_task),
    Row("GET", "/tasks/{task_id}", 200, things.completed_task),
    Row("GET", "/tasks/{task_id}", 200, things.queued_task, way="queued"),
    Row("GET", "/tasks/{task_id}/log", 200, things.completed_task),
    Row("POST", "/tasks/{task_id}/cancel", 200, things.queued_task),
    Row("POST", "/tasks/{task_id}/retry", 202, things.cancelled_task),
    Row("DELETE", "/tasks/{task_id}", 204, things.cancelled_task),
    # results
    Row("GET", "/tasks/{task_id}/stems/{stem}", 200, things.completed_task, fixed={"stem": "vocals"}),
    Row("HEAD", "/tasks/{task_id}/stems/{stem}", 200, things.completed_task, fixed={"stem": "vocals"}),
    Row("GET", "/tasks/{task_id}/archive", 200, things.completed_task),
    Row("GET", "/tasks/{task_id}/events", 200, things.completed_task),
    Row("POST", "/tickets", 201, things.queued_task, {"task_id": "{task_id}"}),
    # tenants and their people
    Row("GET", "/tenant", 200, shared=True),
    Row("PATCH", "/tenant", 200, json={"name": "{new_name}"}, role="admin"),
    Row("GET", "/tenants", 200),
    Row("POST", "/tenants/{tenant_id}/switch", 200, things.second_tenant, ends_login=True),
    Row("GET", "/tenant/members", 200, shared=True),
    Row("PATCH", "/tenant/members/{user_id}", 204, things.colleague, {"role": "admin"}, role="admin"),
    Row("DELETE", "/tenant/members/{user_id}", 200, things.colleague, role="admin"),
    Row("POST", "/tenant/leave", 200, shared=True, ends_login=True),  # says which owner gets the credits
    Row("GET", "/tenant/tasks", 200, role="admin"),
    Row("GET", "/tenant/uploads", 200, role="admin"),
    Row("GET", "/tenant/invitations", 200, role="admin"),
    Row("POST", "/tenant/invitations", 201, json={"email": "{new_email}", "role": "member"}, role="admin"),
    Row("DELETE", "/tenant/invitations/{invitation_id}", 204, things.invitation, role="admin"),
    Row("POST", "/invitations/accept", 200, things.invited, {"code": "{code}"}),
    Row("GET", "/tenant/usage", 200, role="admin"),
    Row("GET", "/tenant/audit", 200, role="admin"),
    Row("GET", "/me/usage", 200),
    # what there is, and what it costs
    Row("GET", "/models", 200),
    Row("GET", "/credits", 200),
    Row("GET", "/credits/entries", 200),
    Row("GET", "/credits/statement", 200),
    Row("POST", "/credits/transfers", 201, things.colleague, {"to_user_id": "{user_id}", "credits": 1}, shared=True),
    Row("GET", "/purchases/packs", 200),
    Row("POST", "/purchases", 201, json={"pack": "small"}),
    Row("GET", "/purchases", 200),
    Row("GET", "/purchases/{purchase_id}", 200, things.purchase),
    Row("POST", "/payments/{provider}", 404, json={}, fixed={"provider": "fake"}, open=True, way="unsigned"),
    # webhooks
    Row("GET", "/webhooks", 200, role="admin"),
    Row("POST", "/webhooks", 201, json={"url": things.NOWHERE}, role="admin"),
    Row("GET", "/webhooks/credits-low", 200, role="admin"),
    Row("PUT", "/webhooks/credits-low", 200, json={"below": 5}, role="admin"),
    Row("GET", "/webhooks/{webhook_id}", 200, things.webhook, role="admin"),
    Row("PATCH", "/webhooks/{webhook_id}", 200, things.webhook, {"enabled": False}, role="admin"),
    Row("DELETE", "/webhooks/{webhook_id}", 204, things.webhook, role="admin"),
    Row("POST", "/webhooks/{webhook_id}/secret", 200, things.webhook, role="admin"),
    Row("POST", "/webhooks/{webhook_id}/test", 202, things.webhook, role="admin"),
    Row("GET", "/webhooks/{webhook_id}/deliveries", 200, things.delivery, role="admin"),
    Row("GET", "/webhooks/{webhook_id}/deliveries/{delivery_id}", 200, things.delivery, role="admin"),
    Row("POST", "/webhooks/{webhook_id}/deliveries/{delivery_id}/replay", 202, things.delivery, role="admin"),
)

_ADMIN = (
    Row("GET", "/overview", 200),
    Row("GET", "/audit", 200),
    Row("GET", "/tenants", 200),
    Row("GET", "/tenants/{tenant_id}", 200, things.somebody),
    Row("PATCH", "/tenants/{tenant_id}", 200, things.somebody, {"plan": "standard"}),
    Row("POST", "/tenants/{tenant_id}/suspend", 204, things.somebody, {"reason": "it has not paid"}),
    Row("POST", "/tenants/{tenant_id}/resume", 204, things.suspended),
    Row("POST", "/tenants/{tenant_id}/erase", 200, things.named, {"name": "{named}", "reason": "asked for it"}),
    Row("GET", "/users", 200),
    Row("GET", "/users/{user_id}", 200, things.somebody),
    Row("POST", "/users/{user_id}/deactivate", 204, things.somebody, {"reason": "it is spam"}),
    Row("POST", "/users/{user_id}/activate", 204, things.deactivated),
    Row("POST", "/users/{user_id}/logout", 204, things.somebody),
    Row("POST", "/users/{user_id}/operator", 204, things.somebody, {"on": True}),
    Row(
        "POST",
        "/users/{user_id}/grants",
        204,
        things.somebody,
        {"credits": 1, "reason": "an apology", "tenant_id": "{tenant_id}"},
    ),
    Row(
        "POST",
        "/users/{user_id}/impersonate",
        201,
        things.somebody,
        {"reason": "they asked by telephone", "tenant_id": "{tenant_id}"},
    ),
    Row("POST", "/tasks/{task_id}/refund", 200, things.paid_task, {"reason": "nothing but noise"}),
    Row("GET", "/settings", 200),
    Row("PUT", "/settings/{name}", 204, json={"value": "INFO"}, fixed={"name": "log_level"}),
    Row("DELETE", "/settings/{name}", 204, things.changed_setting, fixed={"name": "log_level"}),
)

_PROBES = (
    Row("GET", "/healthz", 200, open=True),
    Row("GET", "/readyz", 200, open=True),
    Row("GET", "/health", 200, open=True),
    Row("GET", "/metrics", 200, open=True),
)

ROWS = (
    *(replace(row, path=PREFIX + row.path) for row in _API),
    *(replace(row, path=f"{PREFIX}/admin{row.path}", role="operator") for row in _ADMIN),
    *_PROBES,
)

UNDOCUMENTED = {
    ("HEAD", f"{PREFIX}/tasks/{{task_id}}/stems/{{stem}}"),  # has its row
    *(("GET", path) for path in ("/", "/docs", "/docs/assets", "/openapi.json")),
    ("HEAD", "/openapi.json"),
}
"""Routes that the document leaves out: for players, and pages that are the same for everybody."""

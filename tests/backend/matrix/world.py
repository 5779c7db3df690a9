"""A service with an owner who has things, and everybody who must not get at them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
from jose import jwt
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.auth import proof
from backend.auth.keyring import signing_key
from backend.auth.password import hash_password
from backend.credit import service as credit
from backend.models import ApiKey, Base, Membership, Tenant, User
from backend.tenant.scope import Scope
from backend.worker import service as workers
from tests.backend.matrix.rows import PLACE, Role, Row
from tests.backend.matrix.things import Ids, Maker, completed_task
from tests.service import PASSWORD, InProcess, Person


@cache
def _hashed() -> str:
    return hash_password(PASSWORD)


class World:
    def __init__(self, service: InProcess, song: Path) -> None:
        self.service = service
        self.song = song
        self.document: dict[str, Any] = service.client.get("/openapi.json").json()
        self.owner = self.newcomer("owner")
        self.stranger = self.newcomer("stranger")
        """The owner of another tenant."""
        self.member = self.colleague("member")
        """Of the owner's tenant."""
        self._made: dict[tuple[object, str], Ids] = {}
        self._succeeded: set[str] = set()
        with service.wiring.database.write() as session:
            workers.heartbeat(session, "one@here")
        for person in (self.owner, self.stranger):
            completed_task(self, person)  # while nothing else waits for the worker

    # people

    def newcomer(self, name: str = "newcomer") -> Person:
        """Somebody with a tenant of their own."""
        person = self.service.register(f"{name}-{uuid4()}@example.com")
        with self.service.wiring.database.write() as session:
            session.execute(update(User).where(User.email == person.email).values(password_hash=_hashed()))
        return person

    def colleague(self, role: Role, person: Person | None = None) -> Person:
        """Somebody in the owner's tenant, or in another person's."""
        tenant_id = self.scope(person or self.owner).tenant_id
        user = User(email=f"{role}-{uuid4()}@example.com", password_hash=_hashed())
        with self.service.wiring.database.write() as session:
            session.add(user)
            session.flush()
            self.join(session, tenant_id, user.id, role)
            email = user.email
        return self.service.login(email)

    def join(self, session: Session, tenant_id: UUID, user_id: UUID | None, role: Role) -> None:
        assert user_id is not None
        session.add(Membership(tenant_id=tenant_id, user_id=user_id, role=role))
        session.flush()
        credit.open_account(session, tenant_id, user_id, self.service.settings.credit.signup_grant)

    @cached_property
    def operator(self) -> Person:
        person = self.newcomer("operator")
        with self.service.wiring.database.write() as session:
            session.execute(update(User).where(User.email == person.email).values(operator=True))
        return person

    def somebody(self, role: Role) -> Person:
        """With this role and no more, in the owner's tenant."""
        known: dict[Role, Person] = {"member": self.member, "owner": self.owner}
        return known[role] if role in known else self.colleague(role)

    def sender(self, row: Row) -> Person:
        """Who may make the call of the row."""
        if row.role == "operator":
            return self.operator
        if row.open or (row.ends_login and row.role == "owner"):
            return self.newcomer()
        if row.ends_login:
            return self.service.login(self.owner.email) if row.of else self.colleague("member")
        return self.owner

    @cache  # noqa: B019
    def scope(self, person: Person) -> Scope:
        return self.service.scope(person)

    @property
    def tenant(self) -> Scope:
        """All that the owner's tenant has."""
        return Scope(self.scope(self.owner).tenant_id, None)

    # things

    def once(self, name: object, person: Person, maker: Maker) -> Ids:
        place = (name, person.email)
        if place not in self._made:
            self._made[place] = maker(self, person)
        return self._made[place]

    def thing(self, row: Row, person: Person | None = None) -> Ids:
        """What the row is about, of the owner's: a new one where the call changes it."""
        person = person or self.owner
        if row.of is None:
            return {}
        return row.of(self, person) if row.changes else self.once(row.of, person, row.of)

    def any_thing(self, row: Row) -> Ids:
        """One of the owner's for calls that are refused before anything is looked at."""
        return self.once(row.of, self.owner, row.of) if row.of else {}

    def known(self, name: str) -> str | None:
        """An id of the owner's that goes by this name."""
        made = [ids for (_, email), ids in self._made.items() if email == self.owner.email]
        return next((ids[name] for ids in made if name in ids), None)

    # calls

    def call(
        self,
        row: Row,
        person: Person,
        ids: Ids | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """By `person`; with other `headers` by whoever they stand for."""
        known = {**row.fixed, **(ids or {})}

        def filled(template: Any) -> Any:
            text = PLACE.sub(lambda place: known.get(place[1]) or WORDS[place[1]](self, person), json.dumps(template))
            return json.loads(text)

        if headers is None:
            headers = {} if row.open else person.headers
        files = {"file": ("song.mp3", self.song.read_bytes(), "audio/mpeg")} if row.file else None
        body = {"json": filled(row.json), "data": filled(row.form), "files": files}
        sent = {name: value for name, value in body.items() if value is not None}
        return person.client.request(row.method, filled(row.path), headers=headers, params=query, **sent)

    def succeeds(self, row: Row) -> None:
        """For the owner; asked once a row."""
        if str(row) in self._succeeded:
            return
        answer = self.call(row, self.sender(row), self.thing(row))
        assert answer.status_code == row.success, f"the owner got {answer.status_code}: {answer.text}"
        self._succeeded.add(str(row))

    def operation(self, row: Row) -> dict[str, Any]:
        """What the document says of the route; HEAD does what GET does."""
        method = "get" if row.method == "HEAD" else row.method.lower()
        operation: dict[str, Any] = self.document["paths"][row.path][method]
        return operation

    # what is kept

    @contextmanager
    def untouched(self, scope: Scope) -> Iterator[None]:
        """Meanwhile no row of somebody's or, without a person, of a whole tenant's changes; and no file goes."""
        rows, files = self._written(scope), self.service.files("uploads", "output")
        yield
        assert self._written(scope) == rows
        assert not set(files) - set(self.service.files("uploads", "output"))

    def _written(self, scope: Scope) -> list[str]:
        return sorted(f"{table}: {row}" for table, row in self._rows(scope))

    def ids(self, scope: Scope) -> set[UUID]:
        """Everything by which these rows could be known."""
        return {value for _, row in self._rows(scope) for value in row if isinstance(value, UUID)}

    def _rows(self, scope: Scope) -> Iterator[tuple[str, tuple[Any, ...]]]:
        with self.service.wiring.database.read() as session:
            for table in Base.metadata.sorted_tables:
                condition = None
                if scope.user_id is None and "tenant_id" in table.c:
                    condition = table.c.tenant_id == scope.tenant_id
                elif scope.user_id is not None and {"tenant_id", "user_id"} <= set(table.c.keys()):
                    condition = (table.c.tenant_id == scope.tenant_id) & (table.c.user_id == scope.user_id)
                elif table is Tenant.__table__ and scope.user_id is None:
                    condition = table.c.id == scope.tenant_id
                elif table is User.__table__ and scope.user_id is not None:
                    condition = table.c.id == scope.user_id
                if condition is not None:
                    for row in session.execute(select(table).where(condition)):
                        yield table.name, tuple(row)

    # ways in that are not good

    def token(self, **changes: Any) -> str:
        """A token of the owner's, signed as we do, with other claims."""
        auth = self.service.settings.auth
        kid, secret = signing_key(auth)
        claims = jwt.get_unverified_claims(self.owner.token) | changes
        return jwt.encode(claims, secret, "HS256", headers={"kid": kid})

    def key(self, person: Person, *scopes: str) -> tuple[str, str]:
        """(id, key)."""
        made = person.post("/keys", {"name": "studio", "scopes": scopes}).json()
        return made["id"], made["key"]

    @cached_property
    def ended_login(self) -> str:
        person = self.service.login(self.owner.email)
        assert person.post("/logout").status_code == 204
        return person.token

    @cached_property
    def revoked_key(self) -> str:
        key_id, key = self.key(self.owner, "read", "separate", "admin")
        assert self.owner.delete(f"/keys/{key_id}").status_code == 204
        return key

    @cached_property
    def expired_key(self) -> str:
        key_id, key = self.key(self.owner, "read", "separate", "admin")
        with self.service.wiring.database.write() as session:
            session.execute(update(ApiKey).where(ApiKey.id == UUID(key_id)).values(expires_at=ApiKey.created_at))
        return key

    @cache  # noqa: B019
    def key_without(self, scope: str, operator: bool) -> str:
        """A key that may do everything but this."""
        scopes = {"read", "separate", "admin"} - {scope}
        return self.key(self.operator if operator else self.owner, *sorted(scopes))[1]

    @cached_property
    def receipt(self) -> str:
        """Of somebody who is gone."""
        return str(self.newcomer().post("/me/erase", {"password": PASSWORD}).json()["receipt"])

    def mail_token(self, purpose: proof.Purpose, person: Person) -> str:
        with self.service.wiring.database.read() as session:
            user = session.scalars(select(User).where(User.email == person.email)).one()
        return proof.issue(self.service.settings.auth, purpose, user)


WORDS: dict[str, Callable[[World, Person], str]] = {
    "email": lambda _, person: person.email,
    "password": lambda _, person: PASSWORD,
    "new_email": lambda _, person: f"new-{uuid4()}@example.com",
    "new_name": lambda *_: f"Tenant {uuid4()}",
    "refresh_token": lambda _, person: person.refresh_token,
    "reset_token": lambda world, person: world.mail_token("reset", person),
    "verify_token": lambda world, person: world.mail_token("verify", person),
    "tenant_name": lambda _, person: person.get("/tenant").json().get("name", "none"),
    "receipt": lambda world, _: world.receipt,
}


def shows(answer: httpx.Response, ids: set[UUID]) -> set[str]:
    """Which of these ids stand anywhere in an answer, links and headers too."""
    text = f"{answer.text} {answer.headers}".lower()
    written = set(re.findall(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", text))
    return {str(UUID(each)) for each in written} & {str(each) for each in ids}

"""Everything of a tenant, or of a person, goes; the ledger and the audit log stay, and name nobody.

One transaction takes the rows' words and ends what runs, and the files go after it (`backend.removal`). Nothing is
lost or paid twice by it: a task that a worker has is cancelled as a cancel would, and its late result is refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend import removal
from backend import storage as keys
from backend.audit import service as audit
from backend.audit.service import Actor
from backend.auth.role import RoleNeeded
from backend.credit import service as credit
from backend.erase import receipt, repository
from backend.invitation import service as invitations
from backend.member.service import LastOwner
from backend.problem import Problem
from backend.task import cancellation
from backend.tenant import service as tenants
from backend.tenant.limits import TenantUnknown
from backend.tenant.scope import Scope
from backend.upload import content as songs
from backend.upload import sending
from backend.user import service as users
from backend.webhook import service as webhooks
from backend.wiring import Wiring

UNCHANGEABLE = "words that somebody typed there stay as they are: nobody can change them"
STAYS = (
    ("ledger entries", f"accounting: amounts, times and ids, notes on transfers, reasons for grants; {UNCHANGEABLE}"),
    ("purchases", "accounting: pack, price, time and ids"),
    ("audit log", f"who did what, by ids, and the reasons that were given; network addresses go; {UNCHANGEABLE}"),
    ("rows of tasks and songs", "what ledger entries refer to: ids, times, lengths and prices, no names, no files"),
    ("rows of people and tenants", "what all of these refer to: ids, times and limits"),
)


class TenantNameWrong(Problem):
    status = 422
    code = "tenant_name_wrong"
    detail = "This is not the tenant's name."
    advice = "Send its name as GET /api/v1/tenant shows it: this can't be undone."
    field = "name"


@dataclass(frozen=True, slots=True)
class Erasure:
    content: dict[str, Any]
    receipt: str


@dataclass(slots=True)
class _Going:
    """Whose everything goes."""

    tenants: list[UUID] = field(default_factory=list)
    people: list[UUID] = field(default_factory=list)
    places: list[Scope] = field(default_factory=list)
    """People who go from a tenant that stays."""

    @property
    def scopes(self) -> list[Scope]:
        return [*(Scope(tenant_id, None) for tenant_id in self.tenants), *self.places]


def require_name(session: Session, tenant_id: UUID, name: str) -> None:
    """Typed by hand, so that nobody erases the wrong one; raises TenantNameWrong."""
    if tenants.get(session, tenant_id).name.strip() != name.strip():
        raise TenantNameWrong


def erase_tenant(
    wiring: Wiring, actor: Actor, tenant_id: UUID, reason: str | None = None, *, owner: UUID | None = None
) -> Erasure:
    """With its people, but for those who are in another tenant too. `owner`: who must still be one; None: the
    service's operator does it. Raises TenantUnknown, RoleNeeded, LastOperator.
    """
    with wiring.database.write() as session:
        tenants.lock(session, tenant_id)
        if tenants.get(session, tenant_id).erased_at is not None:
            raise TenantUnknown
        if owner is not None and tenants.role_of(session, tenant_id, owner) != "owner":
            raise RoleNeeded("owner")
        going = _Going([tenant_id])
        for user_id in repository.people_of(session, tenant_id):
            if repository.tenants_of(session, user_id) == [tenant_id]:
                users.spare_last_operator(session, user_id)
                _add_person(session, going, user_id)
        content, leaving = _erase(wiring, session, actor, going, "tenant", tenant_id, reason)
    return _finish(wiring, content, leaving, going)


def erase_person(wiring: Wiring, actor: Actor, user_id: UUID) -> Erasure:
    """With the tenants in which nobody else is. Raises LastOperator, and LastOwner of a tenant with others."""
    with wiring.database.write() as session:
        users.require(session, user_id)
        users.spare_last_operator(session, user_id)
        going = _Going()
        for tenant_id in sorted(repository.tenants_of(session, user_id)):
            tenants.lock(session, tenant_id)
            if tenants.count(session, tenant_id) == 1:
                going.tenants.append(tenant_id)
            elif _holds(session, tenant_id, user_id):
                raise LastOwner
        _add_person(session, going, user_id)
        content, leaving = _erase(wiring, session, actor, going, "person", user_id)
    return _finish(wiring, content, leaving, going)


def _holds(session: Session, tenant_id: UUID, user_id: UUID) -> bool:
    """Whether without this owner nobody is left who can act as one."""
    owner = tenants.role_of(session, tenant_id, user_id) == "owner"
    return owner and not tenants.owners(session, tenant_id, but=user_id)


def _add_person(session: Session, going: _Going, user_id: UUID) -> None:
    going.people.append(user_id)
    places = repository.ever_in(session, user_id).union(repository.tenants_of(session, user_id))
    going.places += [Scope(tenant_id, user_id) for tenant_id in sorted(places.difference(going.tenants))]


def _erase(
    wiring: Wiring,
    session: Session,
    actor: Actor,
    going: _Going,
    kind: str,
    subject: UUID,
    reason: str | None = None,
) -> tuple[dict[str, Any], list[removal.Leaving]]:
    counts: Counter[str] = Counter()
    for tenant_id in going.tenants:
        # First: it waits for orders and songs that are being written, and lets no more come (`limits.admit`).
        for user_id in repository.people_of(session, tenant_id):
            tenants.remove(session, tenant_id, user_id)
            counts["memberships"] += 1
    for place in going.places:
        assert place.user_id is not None
        if tenants.role_of(session, place.tenant_id, place.user_id) is not None:
            tenants.remove(session, place.tenant_id, place.user_id)
            counts["memberships"] += 1
        invitations.revoke_of(session, place.tenant_id, place.user_id)
    running = [task_id for scope in going.scopes for task_id in _stop(session, scope)]
    found = [(scope, repository.files(session, scope)) for scope in going.scopes]
    task_keys = {task_id: keys.task_key(name, task_id) for _, files in found for task_id, name in files.tasks}
    upload_keys = {upload_id: key for _, files in found for upload_id, key in files.uploads}
    for scope in going.scopes:
        for user_id in repository.accounts(session, scope):
            counts["millicredits"] += credit.forfeit(session, scope.tenant_id, user_id, repository.ERASED)
        counts["ledger_entries_kept"] += repository.count_transfers(session, scope)
        counts["webhooks"] += _forget_webhooks(session, scope)
        counts.update(repository.scrub(session, scope))
    for tenant_id in going.tenants:
        counts["invitations"] += repository.forget_invitations(session, tenant_id)
        repository.close_tenant(session, tenant_id)
    for user_id in going.people:
        counts["invitations"] += repository.close_person(session, user_id)
    content = {
        "subject": {"kind": kind, "id": str(subject)},
        "by": {"kind": actor.kind, "id": None if actor.user_id is None else str(actor.user_id)},
        "at": repository.now(session).isoformat().replace("+00:00", "Z"),
        "tenants": [str(each) for each in going.tenants],
        "people": [str(each) for each in going.people],
        "task_ids": sorted(map(str, task_keys)),
        "upload_ids": sorted(map(str, upload_keys)),
        "bytes": sum(files.bytes for _, files in found),
        "credits": credit.shown(counts.pop("millicredits", 0)),
        "stays": [{"what": what, "why": why} for what, why in STAYS],
    }
    _record(session, actor, going, kind, subject, counts, reason)
    content["counts"] = dict(counts)
    leaving = [removal.announce(wiring.storage, task_keys, upload_keys)]
    if running:
        # Their workers hear of it within a second; until then they may still put a result there.
        leaving.append(removal.announce(wiring.storage, {each: keys.any_task_key(each) for each in running}, {}))
    return content, leaving


def _stop(session: Session, scope: Scope) -> list[UUID]:
    """End what is under way, with what workers take meanwhile; which tasks workers had."""
    running: list[UUID] = []
    while True:
        running += repository.processing(session, scope)
        if not cancellation.cancel_all(session, scope):
            return running


def _forget_webhooks(session: Session, scope: Scope) -> int:
    if scope.user_id is not None:
        return repository.forget_webhooks(session, scope.tenant_id, scope.user_id)
    count = repository.count_webhooks(session, scope.tenant_id)
    webhooks.forget_tenant(session, scope.tenant_id)
    return count


def _record(
    session: Session,
    actor: Actor,
    going: _Going,
    kind: str,
    subject: UUID,
    counts: Counter[str],
    reason: str | None,
) -> None:
    """One entry for all of it. Then the addresses go: this act's, too, where it was the person's own."""
    audit.record(
        session,
        actor,
        f"{kind}.erased",
        tenant_id=next(iter(going.tenants), None),
        target=subject,
        after={"tenants": [*map(str, going.tenants)], "people": [*map(str, going.people)], **counts},
        reason=reason,
    )
    for user_id in going.people:
        counts["addresses_in_audit_log"] += audit.forget_addresses(session, actor_id=user_id)


def _finish(wiring: Wiring, content: dict[str, Any], leaving: list[removal.Leaving], going: _Going) -> Erasure:
    """What can't be removed now, the sweep removes, and what links bring that are still good."""
    sent = [sending.remove_sent(wiring, scope) for scope in going.scopes]
    content["files_removed"] = removal.finish(wiring.storage, leaving[0], partial(songs.unused, wiring)) and all(sent)
    for late in leaving[1:]:
        removal.remove(wiring.storage, late.tasks.values())
    return Erasure(content, receipt.sign(wiring.settings.auth, content["subject"]["id"], content))

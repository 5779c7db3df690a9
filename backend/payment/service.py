"""Credits are bought: ordered here, paid at a provider, who then says so.

A provider's messages may come twice, late, or in any order. Where a purchase stands decides what each of them does:

    open ──failed──▶ failed ──succeeded──▶ paid ──refunded, chargeback──▶ refunded
      └──────────succeeded─────────────────▲        (open and failed ones too: a later success brings nothing)

A part that is paid back takes its part of the credits; when all of it is, the purchase is refunded. What was spent by
then is missing (`shortfall`), and taken from what the tenant gets later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import SERVICE, Actor
from backend.clock import database_now
from backend.credit import service as credit
from backend.models import Purchase
from backend.models.purchase import PurchaseStatus
from backend.payment import provider as providers
from backend.payment import repository
from backend.payment.provider import PaymentMessage, PaymentUnknown
from backend.problem import Problem
from backend.settings import Settings
from backend.settings.payment import Pack
from backend.tenant import service as tenants
from backend.tenant.scope import Scope
from backend.wiring import Wiring

KEPT_SECONDS = 90 * 86_400.0
BACK = ("payment.refunded", "payment.chargeback")


class PackUnknown(Problem):
    status = 404
    code = "pack_not_found"
    detail = "There is no such pack of credits."
    advice = "GET /api/v1/purchases/packs lists what is for sale."


class PurchaseNotFound(Problem):
    status = 404
    code = "purchase_not_found"
    detail = "There is no such purchase."
    advice = "Check the id; GET /api/v1/purchases lists your purchases."


def packs(settings: Settings) -> Mapping[str, Pack]:
    """What is for sale; nothing without a provider."""
    return settings.payment.packs if settings.payment.provider else {}


def order(session: Session, settings: Settings, scope: Scope, actor: Actor, name: str) -> Purchase:
    """A purchase that is still to be paid, its price frozen. Raises PackUnknown."""
    pack = packs(settings).get(name)
    if pack is None:
        raise PackUnknown
    purchase = Purchase(
        tenant_id=scope.tenant_id,
        user_id=scope.user_id,
        pack=name,
        amount=round(pack.credits * 1000),
        price_minor=pack.price_minor,
        currency=pack.currency,
        provider=settings.payment.provider,
    )
    repository.add(session, purchase)
    _record(session, actor, purchase, "ordered", price_minor=pack.price_minor, currency=pack.currency)
    return purchase


def get(session: Session, scope: Scope, purchase_id: UUID) -> Purchase:
    """Raises PurchaseNotFound, for a stranger's as for none."""
    purchase = repository.get(session, scope, purchase_id)
    if purchase is None:
        raise PurchaseNotFound
    return purchase


def listed(session: Session, scope: Scope, *, before: UUID | None, limit: int) -> list[Purchase]:
    return repository.page(session, scope, before=before, limit=limit)


def checkout_url(settings: Settings, purchase: Purchase) -> str | None:
    """Where it is paid, while it can be."""
    provider = providers.of(settings.payment)
    if provider is None or provider.name != purchase.provider or purchase.status not in ("open", "failed"):
        return None
    return provider.checkout_url(purchase)


def receive(wiring: Wiring, name: str, headers: Mapping[str, str], body: bytes) -> None:
    """A provider's message. Raises PaymentUnknown, MessageUnreadable."""
    provider = providers.of(wiring.settings.payment)
    if provider is None or provider.name != name:
        raise PaymentUnknown
    message = provider.read(headers, body)
    if message is None:
        return
    with wiring.database.write() as session:
        if repository.note_message(session, name, message.id):
            _act(session, name, message)


def forget_old(session: Session) -> None:
    """Messages that nobody sends again; a purchase's status and the ledger still know what they did."""
    repository.forget_messages(session, KEPT_SECONDS)


def shortfall(session: Session, tenant_id: UUID | None = None) -> int:
    """Millicredits that are missing of what was to be taken back, of a tenant or of all."""
    return repository.shortfall(session, tenant_id)


def collect(session: Session, limit: int = 100) -> None:
    """Take what is missing from what its tenant has got since."""
    owing = repository.lock_owing(session, limit)
    for tenant_id in sorted({purchase.tenant_id for purchase in owing}):
        tenants.lock(session, tenant_id)
    for purchase in owing:
        missing = credit.charge_back(session, purchase.tenant_id, purchase.user_id, purchase.shortfall, purchase.id)
        if missing < purchase.shortfall:
            before = {"shortfall": purchase.shortfall}
            purchase.shortfall = missing
            session.flush()
            _record(session, SERVICE, purchase, "collected", before, shortfall=missing)


def _act(session: Session, provider: str, message: PaymentMessage) -> None:
    purchase = repository.lock(session, provider, message.purchase_id)
    if purchase is None:
        raise PaymentUnknown
    least = 1 if message.kind in BACK else purchase.price_minor
    if not least <= message.amount_minor <= purchase.price_minor or message.currency != purchase.currency:
        # Nothing that sending it again would mend: noted for the operator.
        said: dict[str, Any] = {"said_minor": message.amount_minor, "said_currency": message.currency}
        _record(session, SERVICE, purchase, "mismatched", kind=message.kind, message_id=message.id, **said)
        return
    match message.kind, purchase.status:
        case "payment.succeeded", "open" | "failed":
            _pay(session, purchase, message)
        case "payment.failed", "open":
            _settle(session, purchase, message, "failed")
        case (("payment.refunded" | "payment.chargeback"), "open" | "failed" | "paid"):
            _pay_back(session, purchase, message)


def _pay(session: Session, purchase: Purchase, message: PaymentMessage) -> None:
    buyer, owner = purchase.user_id, tenants.payee(session, purchase.tenant_id, purchase.user_id)
    if owner is None:
        _settle(session, purchase, message, "failed", "unclaimed")
        return
    purchase.user_id = owner
    credit.purchase(session, purchase.tenant_id, owner, purchase.amount, purchase.id)
    _take_back(session, purchase)
    _settle(session, purchase, message, "paid", buyer=str(buyer), owner=str(owner))


def _pay_back(session: Session, purchase: Purchase, message: PaymentMessage) -> None:
    purchase.refunded_minor = min(purchase.price_minor, purchase.refunded_minor + message.amount_minor)
    if purchase.status == "paid":
        tenants.lock(session, purchase.tenant_id)  # who leaves holds credits of two, in any order
        _take_back(session, purchase)
    whole = purchase.refunded_minor == purchase.price_minor
    _settle(
        session,
        purchase,
        message,
        "refunded" if whole else purchase.status,
        "refunded" if whole else "refunded_in_part",
    )


def _take_back(session: Session, purchase: Purchase) -> None:
    """As large a part of the credits as was paid back of the price."""
    due = purchase.amount * purchase.refunded_minor // purchase.price_minor if purchase.refunded_minor else 0
    purchase.shortfall += credit.charge_back(
        session, purchase.tenant_id, purchase.user_id, due - purchase.returned, purchase.id
    )
    purchase.returned = due


def _settle(
    session: Session,
    purchase: Purchase,
    message: PaymentMessage,
    status: PurchaseStatus,
    act: str | None = None,
    **more: str,
) -> None:
    before = {"status": purchase.status}
    if status != purchase.status:
        purchase.status, purchase.settled_at = status, database_now()
    session.flush()
    _record(
        session,
        SERVICE,
        purchase,
        act or status,
        before,
        kind=message.kind,
        message_id=message.id,
        refunded_minor=purchase.refunded_minor,
        shortfall=purchase.shortfall,
        **more,
    )


def _record(
    session: Session,
    actor: Actor,
    purchase: Purchase,
    act: str,
    before: Mapping[str, Any] | None = None,
    **more: object,
) -> None:
    after = {"status": purchase.status, "millicredits": purchase.amount, **more}
    audit.record(
        session,
        actor,
        f"purchase.{act}",
        tenant_id=purchase.tenant_id,
        target=purchase.id,
        before=before,
        after=after,
    )

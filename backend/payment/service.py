"""Credits are bought: ordered here, paid at a provider, who then says so.

A provider's messages may come twice, late, or in any order. Where a purchase stands decides what each of them does:

    open ──failed──▶ failed ──succeeded──▶ paid ──refunded, chargeback──▶ refunded
      └──────────succeeded─────────────────▲        (open and failed ones too: a later success brings nothing)
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
from backend.tenant.scope import Scope
from backend.wiring import Wiring

KEPT_SECONDS = 90 * 86_400.0


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


def _act(session: Session, provider: str, message: PaymentMessage) -> None:
    purchase = repository.lock(session, provider, message.purchase_id)
    if purchase is None:
        raise PaymentUnknown
    if (message.amount_minor, message.currency) != (purchase.price_minor, purchase.currency):
        # Nothing that sending it again would mend: noted for the operator.
        _record(
            session,
            SERVICE,
            purchase,
            "mismatched",
            kind=message.kind,
            message_id=message.id,
            said_minor=message.amount_minor,
            said_currency=message.currency,
        )
        return
    was = purchase.status
    match message.kind, was:
        case "payment.succeeded", "open" | "failed":
            credit.purchase(session, purchase.tenant_id, purchase.user_id, purchase.amount, purchase.id)
            _settle(session, purchase, message, "paid")
        case "payment.failed", "open":
            _settle(session, purchase, message, "failed")
        case (("payment.refunded" | "payment.chargeback"), "paid"):
            purchase.shortfall = credit.charge_back(
                session, purchase.tenant_id, purchase.user_id, purchase.amount, purchase.id
            )
            _settle(session, purchase, message, "refunded")
        case (("payment.refunded" | "payment.chargeback"), "open" | "failed"):
            _settle(session, purchase, message, "refunded")


def _settle(session: Session, purchase: Purchase, message: PaymentMessage, status: PurchaseStatus) -> None:
    before = {"status": purchase.status}
    purchase.status, purchase.settled_at = status, database_now()
    session.flush()
    _record(
        session,
        SERVICE,
        purchase,
        status,
        before,
        kind=message.kind,
        message_id=message.id,
        shortfall=purchase.shortfall,
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

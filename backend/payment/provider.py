"""Payment providers: where a purchase is paid, and what they say of it afterwards."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args
from urllib.parse import urlencode
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError

from backend.models import Purchase
from backend.problem import Problem
from backend.settings.payment import Payment
from backend.webhook import signature

TOLERANCE_SECONDS = 300
LONGEST_ID = 200

EventKind = Literal["payment.succeeded", "payment.failed", "payment.refunded", "payment.chargeback"]
KINDS = get_args(EventKind)


class PaymentUnknown(Problem):
    """One answer for whatever is not as it should be: it tells a forger nothing."""

    status = 404
    code = "payment_not_found"
    detail = "There is no such payment."
    advice = "Check the provider's name, the secret that signs, the clock, and the purchase's id."


class MessageUnreadable(Problem):
    status = 422
    code = "payment_message_unreadable"
    detail = "The message is signed, but it is not in the form that this route reads."
    advice = "See POST /api/v1/payments/{provider} in /docs."


class Payload(BaseModel):
    purchase_id: UUID
    amount_minor: int = Field(ge=0, le=10**15, description="In the currency's smallest unit")
    currency: str = Field(pattern="^[A-Z]{3}$")


class Message(BaseModel):
    """In the form that Standard Webhooks recommends; other kinds and further fields are passed over."""

    type: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PaymentMessage:
    id: str
    """The same when it is sent again."""
    kind: str
    purchase_id: UUID
    amount_minor: int
    currency: str


class Provider(Protocol):
    @property
    def name(self) -> str: ...

    def checkout_url(self, purchase: Purchase) -> str:
        """Where the buyer pays."""

    def read(self, headers: Mapping[str, str], body: bytes) -> PaymentMessage | None:
        """None for what is of no interest. Raises PaymentUnknown for what this provider did not send just now,
        MessageUnreadable."""


class StandardProvider:
    """Any that sends Standard Webhooks in the form of `Message`, by itself or by a bridge."""

    def __init__(self, settings: Payment) -> None:
        self.name = settings.provider
        self._secrets = settings.secrets
        self._checkout = settings.checkout_url

    def checkout_url(self, purchase: Purchase) -> str:
        """With what is to be paid, signed as our webhooks are: nobody pays less by editing the address."""
        signed = f"{purchase.price_minor}.{purchase.currency}"
        seconds = int(purchase.created_at.timestamp())
        sign = signature.headers(self._secrets[:1], str(purchase.id), seconds, signed)["webhook-signature"]
        query = {
            "purchase": str(purchase.id),
            "amount_minor": purchase.price_minor,
            "currency": purchase.currency,
            "timestamp": seconds,
            "signature": sign,
        }
        return f"{self._checkout}{'&' if '?' in self._checkout else '?'}{urlencode(query)}"

    def read(self, headers: Mapping[str, str], body: bytes) -> PaymentMessage | None:
        message_id, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not 0 < len(message_id) <= LONGEST_ID or not (moment.isascii() and moment.isdigit() and len(moment) < 12):
            raise PaymentUnknown
        if abs(time.time() - int(moment)) > TOLERANCE_SECONDS:
            raise PaymentUnknown
        try:
            expected = signature.headers(self._secrets, message_id, int(moment), body.decode())["webhook-signature"]
        except UnicodeError:
            raise PaymentUnknown from None
        shown = headers.get("webhook-signature", "").split()
        if not any(_same(one, other) for one in expected.split() for other in shown):
            raise PaymentUnknown
        try:
            message = Message.model_validate_json(body)
            if message.type not in KINDS:
                return None
            data = Payload.model_validate(message.data)
        except ValidationError as error:
            raise MessageUnreadable from error
        return PaymentMessage(message_id, message.type, data.purchase_id, data.amount_minor, data.currency)


def of(settings: Payment) -> Provider | None:
    """None while nothing is sold."""
    return StandardProvider(settings) if settings.provider else None


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())

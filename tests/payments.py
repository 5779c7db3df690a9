"""A payment provider that sells two packs, and its messages as it signs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
from standardwebhooks import Webhook

from backend.identity import new_id
from tests.service import InProcess, Person

SECRET = "whsec_" + "cGF5bWVudHMgYXJlIHNpZ25lZCB3aXRoIHRoaXM="
NEXT_SECRET = "whsec_" + "YW5kIHNvbWUgZGF5IHdpdGggdGhpcyBuZXcgb25l"
PAYMENT: dict[str, Any] = {
    "provider": "fake",
    "secret": SECRET,
    "checkout_url": "https://pay.example.com/checkout",
    "packs": {
        "small": {"credits": 5, "price_minor": 499, "currency": "EUR"},
        "odd": {"credits": 0.001, "price_minor": 1, "currency": "JPY"},
    },
}


def message(kind: str, purchase_id: str, amount_minor: int = 499, currency: str = "EUR") -> bytes:
    data = {"purchase_id": purchase_id, "amount_minor": amount_minor, "currency": currency}
    return json.dumps({"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": data}).encode()


def signed(body: bytes, *, secret: str = SECRET, message_id: str | None = None, age: float = 0) -> dict[str, str]:
    """Headers, by the library of the Standard Webhooks."""
    message_id = message_id or f"msg_{new_id()}"
    moment = datetime.fromtimestamp(datetime.now(UTC).timestamp() - age, UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, moment, body.decode()),
        "content-type": "application/json",
    }


def send(service: InProcess, body: bytes, headers: dict[str, str], provider: str = "fake") -> httpx.Response:
    return service.client.post(f"/api/v1/payments/{provider}", content=body, headers=headers)


def teller(service: InProcess, purchase: dict[str, Any]) -> Callable[[str], None]:
    """Says what happened to this purchase, each time in a new message."""

    def tell(kind: str) -> None:
        body = message(f"payment.{kind}", purchase["id"], purchase["price_minor"], purchase["currency"])
        answer = send(service, body, signed(body))
        assert answer.status_code == 204, answer.text

    return tell


def order(person: Person, pack: str = "small") -> dict[str, Any]:
    answer = person.post("/purchases", {"pack": pack})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())

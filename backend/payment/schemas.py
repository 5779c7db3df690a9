from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from backend.credit.service import shown
from backend.models import Purchase
from backend.models.purchase import PurchaseStatus
from backend.payment import service
from backend.settings import Settings


class PackView(BaseModel):
    name: str
    credits: float
    price_minor: int = Field(description="In the currency's smallest unit, such as cents")
    currency: str = Field(description="ISO 4217", examples=["EUR"])


class NewPurchase(BaseModel):
    model_config = ConfigDict(extra="forbid")

    pack: str = Field(min_length=1, max_length=100, description="Name of a pack, see GET /purchases/packs")


class PurchaseView(BaseModel):
    id: UUID
    pack: str
    credits: float
    price_minor: int = Field(description="In the currency's smallest unit, such as cents")
    currency: str
    status: PurchaseStatus
    checkout_url: str | None = Field(description="Where to pay, while it can be paid")
    refunded_minor: int = Field(description="What of the price was paid back")
    shortfall: float = Field(
        description="Credits that were spent before the payment was taken back, and are taken from later ones"
    )
    created_at: datetime
    settled_at: datetime | None


def purchase_view(settings: Settings, purchase: Purchase) -> PurchaseView:
    return PurchaseView(
        id=purchase.id,
        pack=purchase.pack,
        credits=shown(purchase.amount),
        price_minor=purchase.price_minor,
        currency=purchase.currency,
        status=purchase.status,
        checkout_url=service.checkout_url(settings, purchase),
        refunded_minor=purchase.refunded_minor,
        shortfall=shown(purchase.shortfall),
        created_at=purchase.created_at,
        settled_at=purchase.settled_at,
    )

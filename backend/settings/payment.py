"""Settings of purchases; a group of `backend.settings`."""

from __future__ import annotations

import base64
import binascii
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

SECRET_MARK = "whsec_"
SHORTEST_KEY = 24
"""Bytes, as the Standard Webhooks specification asks for."""


class Pack(BaseModel, extra="forbid"):
    """So many credits for so much money."""

    credits: float = Field(ge=0.001, le=1e6, multiple_of=0.001)
    price_minor: int = Field(ge=1, le=10**12, description="In the currency's smallest unit, such as cents")
    currency: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217", examples=["EUR"])


class Payment(BaseModel):
    provider: str = Field(
        "", pattern="^[a-z0-9-]{0,50}$", description="Name of the payment provider, as in its route; empty: no sales."
    )
    secret: SecretStr = Field(
        SecretStr(""),
        description="Signs the provider's messages to us and our checkout links (Standard Webhooks, `whsec_…`); "
        "several, comma-separated, while one replaces another: the first signs, all are accepted.",
    )
    checkout_url: str = Field("", description="The provider's page (or a bridge's) where a purchase is paid.")
    packs: dict[str, Pack] = Field(
        {},
        description="What is for sale, as JSON: "
        '`{"small": {"credits": 100, "price_minor": 900, "currency": "EUR"}}`; the price in cents.',
    )

    @field_validator("packs")
    @classmethod
    def _named(cls, packs: dict[str, Pack]) -> dict[str, Pack]:
        for name in packs:
            if not 0 < len(name) <= 100 or not name.isprintable():
                raise ValueError(f"{name!r} is no name for a pack")
        return packs

    @field_validator("secret")
    @classmethod
    def _decodes(cls, secret: SecretStr) -> SecretStr:
        for word in _words(secret):
            try:
                key = base64.b64decode(word.removeprefix(SECRET_MARK), validate=True)
            except binascii.Error:
                key = b""
            if len(key) < SHORTEST_KEY:
                raise ValueError(f"a secret is whsec_ and at least {SHORTEST_KEY} bytes in base64")
        return secret

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.provider and not self.secrets:
            raise ValueError("a provider needs a secret: everybody could say that they have paid")
        if self.provider and urlsplit(self.checkout_url).scheme not in ("http", "https"):
            raise ValueError("a provider needs a checkout_url, like https://pay.example.com/checkout")
        return self

    @property
    def secrets(self) -> list[str]:
        return _words(self.secret)


def _words(secret: SecretStr) -> list[str]:
    return [word.strip() for word in secret.get_secret_value().split(",") if word.strip()]

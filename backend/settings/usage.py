"""Settings of what people may use, and what it costs them."""

from __future__ import annotations

import re

from limits import RateLimitItem, parse_many
from pydantic import BaseModel, Field, field_validator

MOST_MILLICREDITS = 10**12
"""Given at once: a few million times as much still fits into an account."""
LONGEST_RATE_SECONDS = 366 * 86_400
_NO_TIME = re.compile(r"(?:per|/)\s*0+\s")
"""`limits` takes 5 per 0 minutes for 5 per minute."""


def rates(text: str) -> list[RateLimitItem]:
    """Of words like `2 per 30 seconds`. Raises ValueError, also for what lets nobody in or everybody."""
    try:
        found = parse_many(text)  # slowapi would only log that it can't, and limit nothing
    except ValueError:
        raise ValueError(f"{text!r} is no rate limit; write it like '2 per 30 seconds'") from None
    if _NO_TIME.search(text) or not all(
        1 <= rate.amount <= 10**9 and rate.get_expiry() <= LONGEST_RATE_SECONDS for rate in found
    ):
        raise ValueError(f"{text!r} is no rate limit: it is at least 1, at most a billion, in at most a year")
    return found


class Credit(BaseModel):
    price: int = Field(1_000, ge=0, le=10**9, description="Millicredits per started block of audio and step.")
    block_seconds: int = Field(600, ge=1, le=10**6, description="Length of a block of audio.")
    signup_grant: int = Field(10_000, ge=0, le=MOST_MILLICREDITS, description="Millicredits given to a new account.")
    grant_days: int = Field(0, ge=0, le=36_500, description="Days until they expire; 0: never.")


class Limit(BaseModel):
    storage: str = Field(
        "memory://",
        description="Where counters live: memory:// (one API process), sqlite:// (several on one machine: a file of "
        "their own in the data folder), or redis://…",
    )
    address: str = Field("1200 per minute", description="Requests per client address, probes aside.")
    user: str = Field("600 per minute", description="Requests per user, with tokens, keys and links together.")
    key: str = Field("600 per minute", description="Requests per API key; they count for its user, too.")
    tenant: str = Field("3000 per minute", description="Requests per tenant.")
    separate: str = Field("2 per 30 seconds", description="Submissions per user.")
    transfer: str = Field("30 per minute", description="Transfers of credits per user.")
    login: str = Field("10 per minute", description="Logins and registrations per client address.")
    trusted_proxies: str = Field(
        "", description="Addresses whose X-Forwarded-For is believed, comma-separated; empty believes none."
    )

    @field_validator("storage")
    @classmethod
    def _known(cls, storage: str) -> str:
        if not storage.startswith(("memory://", "sqlite://", "redis://", "rediss://", "redis+", "valkey")):
            raise ValueError(f"{storage!r} is no place for counters; write memory://, sqlite:// or redis://…")
        return storage

    @field_validator("address", "user", "key", "tenant", "separate", "transfer", "login")
    @classmethod
    def _readable(cls, limit: str) -> str:
        rates(limit)
        return limit


class Upload(BaseModel):
    max_bytes: int = Field(1_000_000_000, ge=1, le=10**12, description="Largest file.")
    max_seconds: float = Field(6 * 3600, gt=0, le=7 * 86_400, description="Longest song.")
    at_once: int = Field(
        200,
        ge=1,
        description="Songs that arrive at once at one API process, a quarter of them of one tenant at most; further "
        "ones are told to come again.",
    )
    decode_memory_bytes: int = Field(1_500_000_000, ge=1, description="Address space of the decoder child.")

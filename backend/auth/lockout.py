"""Who guesses passwords must wait, longer with each wrong one.

Counted for an account from one address (few), for an address over all accounts (more), and for an account over all
addresses (most): a stranger who guesses at an account makes its owner wait only when guessing from very many places.
Every try counts before the password is looked at, so that many at once don't slip through, and is taken back when
it was right. Accounts that don't exist count like those that do.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from dataclasses import dataclass

from sqlalchemy.orm import Session

from backend.auth import repository
from backend.problem import Problem
from backend.settings import Auth


class TooManyFailures(Problem):
    status = 429
    code = "too_many_failures"
    detail = "There were too many wrong tries."
    advice = "Wait, then try again; a forgotten password can be set anew with POST /api/v1/password/forgotten."

    def __init__(self, seconds: float) -> None:
        wait = max(1, math.ceil(seconds))
        super().__init__(f"There were too many wrong tries; the next one may come in {wait} seconds.")
        self.headers = {"Retry-After": str(wait)}


@dataclass(frozen=True, slots=True)
class Counter:
    sha256: str
    allowed: int
    """Failures before the first wait."""


def password_counters(auth: Auth, email: str, address: str) -> list[Counter]:
    """The first is the account's from this address."""
    account, place = email.strip().lower(), _network(address)
    return [
        Counter(_key("password", account, place), auth.lock_after),
        Counter(_key("password", "", place), auth.lock_after * 4),
        Counter(_key("password", account, ""), auth.lock_after * 10),
    ]


def letter_counters(auth: Auth, email: str) -> list[Counter]:
    """So that nobody's mailbox is flooded through us."""
    return [Counter(_key("letter", email.strip().lower(), ""), 2)]


def count_try(session: Session, auth: Auth, counters: list[Counter]) -> None:
    """Raises TooManyFailures; the caller's transaction must then end without a commit: waiting costs nothing more."""
    for counter in _in_order(counters):
        failures, locked = repository.count_failure(session, counter.sha256, _forget_seconds(auth))
        if locked > 0:
            raise TooManyFailures(locked)
        if failures >= counter.allowed:
            doubled = auth.lock_seconds * 2 ** min(failures - counter.allowed, 32)
            repository.lock(session, counter.sha256, min(doubled, auth.lock_longest_seconds))


def take_back(session: Session, counters: list[Counter]) -> None:
    """The try was right, or was none. The counters of others' tries stay as they were."""
    for counter in _in_order(counters):
        repository.take_back(session, counter.sha256)


def forgive(session: Session, counters: list[Counter]) -> None:
    """A right password forgives its account's wrong ones from this address, and nothing else."""
    for counter in _in_order(counters):
        step = repository.forgive if counter is counters[0] else repository.take_back
        step(session, counter.sha256)


def forget_old(session: Session, auth: Auth) -> None:
    repository.forget_failures(session, _forget_seconds(auth))


def _in_order(counters: list[Counter]) -> list[Counter]:
    """One for all who hold several of their rows: no deadlock."""
    return sorted(counters, key=lambda each: each.sha256)


def _forget_seconds(auth: Auth) -> float:
    return 2 * auth.lock_longest_seconds


def _key(*parts: str) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _network(address: str) -> str:
    """An IPv6 customer has 2**64 addresses: they count as one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))

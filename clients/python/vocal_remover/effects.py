"""What a flow asks its client to do. A flow is a generator: it yields one of these and is sent the outcome.

So the order of things is written once, and each client only knows how to do six things, with or without `await`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import httpx

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request; gives the httpx.Response. Raises httpx.TransportError."""

    request: httpx.Request
    whole: bool
    """Read its body at once. That of an error is always read."""


@dataclass(frozen=True, slots=True)
class Take:
    """The next bytes of an open answer as they came; None at its end. Raises httpx.TransportError."""

    response: httpx.Response
    together: int = 1
    """So many bytes may be waited for, where each piece by itself would cost more than what is in it."""


@dataclass(frozen=True, slots=True)
class Close:
    """Read no further. What is still open when a flow ends, its client closes."""

    response: httpx.Response


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class Do:
    """Work that takes a while or waits for a disk; gives what it returns."""

    work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Alone:
    """Run a flow while no other of the same client that asks for this is run; gives what it returns."""

    flow: Flow[Any]


Effect: TypeAlias = Open | Take | Close | Sleep | Do | Alone
Flow: TypeAlias = Generator[Effect, Any, T]

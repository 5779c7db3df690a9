"""Everything that can go wrong, as classes: refused, lost on the way, or come to nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vocal_remover.records import Task


class VocalRemoverError(Exception):
    """The base of all of them."""


class NotConfigured(VocalRemoverError):
    """There is no way to log in, or the address is none."""


class Unreachable(VocalRemoverError):
    """The connection failed, and went on failing when tried again."""


class Unreadable(VocalRemoverError):
    """The answer is not one of this service's."""


class SongChanged(VocalRemoverError):
    """The file became longer or shorter while it was sent."""


class Damaged(VocalRemoverError):
    """What arrived has not the size or the SHA-256 that was announced, also when fetched anew."""


class TookTooLong(VocalRemoverError, TimeoutError):
    """The task is not finished within the time that was given; it goes on."""

    def __init__(self, task_id: str, seconds: float) -> None:
        super().__init__(f"Task {task_id} is not finished after {seconds:g} s; it goes on.")
        self.task_id = task_id


class NotCompleted(VocalRemoverError):
    """The task ended without stems; its credits came back."""

    def __init__(self, task: Task) -> None:
        super().__init__(f"Task {task.id} is {task.status}{f': {task.error_message}' if task.error_message else '.'}")
        self.task = task
        self.code = task.error_code


class TaskFailed(NotCompleted):
    pass


class TaskCancelled(NotCompleted):
    pass


class Refused(VocalRemoverError):
    """An error answer (RFC 9457): `code` is for programs, `detail` and `advice` for people."""

    def __init__(self, status: int, headers: Mapping[str, str], body: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(body.get("code") or f"http_{status}")
        self.detail = str(body.get("detail") or f"The service answered {status} {_phrase(status)}.")
        self.advice = str(body.get("advice") or "")
        self.request_id = str(body.get("request_id") or headers.get("x-request-id", "")) or None
        self.errors: list[dict[str, Any]] = body.get("errors") or []
        """With 422: each field that is wrong, and why."""
        self.retry_after = seconds_asked(headers.get("retry-after"))
        request = f", request {self.request_id}" if self.request_id else ""
        super().__init__(f"{self.detail} {self.advice}".rstrip() + f" ({self.code}{request})")


class NotAllowed(Refused):
    """401 or 403: the key is missing, wrong, expired, or not made for this."""


class OutOfCredits(Refused):
    """402."""


class NotFound(Refused):
    """404: it is not there, or not yours."""


class Busy(Refused):
    """429 or 503, more often than was worth waiting for; `retry_after` says when to come back."""


_KINDS = {401: NotAllowed, 403: NotAllowed, 402: OutOfCredits, 404: NotFound, 429: Busy, 503: Busy}


def refusal(status: int, headers: Mapping[str, str], body: object) -> Refused:
    known = body if isinstance(body, dict) else {}
    if 300 <= status < 400 and "detail" not in known:
        # Without its query: that of a link opens what it leads to.
        place = headers.get("location", "it does not say where").partition("?")[0]
        known = {"detail": f"The service is elsewhere: {place}."}
    return _KINDS.get(status, Refused)(status, headers, known)


def seconds_asked(value: str | None) -> float | None:
    """Of a Retry-After header: it holds seconds or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""

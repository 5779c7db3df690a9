"""Where a sender stands: in the fields of every answer, and in the one that refuses.

`RateLimit` and `RateLimit-Policy` are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import JSONResponse

from backend.errors import problem_response
from backend.problem import Problem

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left to somebody under one policy."""

    policy: str
    quota: int
    window: int
    left: int
    seconds: int
    """Until there is more."""


class TooManyRequests(Problem):
    status = 429
    code = "too_many_requests"

    def __init__(self, standing: Standing) -> None:
        super().__init__(f"Too many requests: {standing.quota} in {standing.window} seconds are allowed.")
        self.standing = standing
        seconds = max(1, standing.seconds)
        self.headers = {"Retry-After": str(seconds)}
        self.wait = f"Wait {seconds} seconds, then send the same request again."


async def too_many(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TooManyRequests)
    more = {"type": QUOTA_EXCEEDED, "violated-policies": [error.standing.policy]}
    headers = dict(error.headers)
    return problem_response(request, 429, error.code, str(error), error.wait, headers=headers, **more)


def fields(standings: list[Standing]) -> Iterator[tuple[str, str]]:
    """The two response fields: lists of structured-field strings with parameters."""
    if standings:
        yield "RateLimit-Policy", ", ".join(f'"{each.policy}";q={each.quota};w={each.window}' for each in standings)
        yield "RateLimit", ", ".join(f'"{each.policy}";r={each.left};t={each.seconds}' for each in standings)


def standings_of(request: Request) -> list[Standing]:
    found: list[Standing] | None = getattr(request.state, "standings", None)
    if found is None:
        request.state.standings = found = []
    return found


def whole_seconds(seconds: float) -> int:
    """Rounded up, and at a whole second to the next: who comes exactly then would be a moment early."""
    return max(0, int(seconds) + 1)

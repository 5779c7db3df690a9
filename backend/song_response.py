"""A file with Range as RFC 9110 has it: what is no range is as if unsaid, and a refusal is a problem body."""

from __future__ import annotations

import re

from fastapi.responses import FileResponse
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from backend.errors import problem_response

_RANGE = re.compile(r"\s*(\d{1,18})\s*-\s*(\d{1,18})?\s*|\s*-\s*\d{1,18}\s*", re.ASCII)
RANGE_NOT_SATISFIABLE = 416


class SongResponse(FileResponse):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused: str | None = None

        async def send_unless_refused(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] == RANGE_NOT_SATISFIABLE:
                refused = Headers(raw=message["headers"])["content-range"]
            if refused is None:
                await send(message)

        if not _well_formed(Headers(scope=scope).get("range", "")):
            scope = {**scope, "headers": [header for header in scope["headers"] if header[0] != b"range"]}
        await super().__call__(scope, receive, send_unless_refused)
        if refused is not None:
            response = problem_response(
                Request(scope),
                RANGE_NOT_SATISFIABLE,
                "range_not_satisfiable",
                "The file ends before the range begins.",
                "Content-Range says how long the file is.",
                headers={"Content-Range": refused},
            )
            await response(scope, receive, send)


def _well_formed(ranges: str) -> bool:
    unit, _, listed = ranges.partition("=")
    if unit.strip().lower() != "bytes":
        return False
    for part in listed.split(","):
        found = _RANGE.fullmatch(part)
        if found is None or (found[2] and int(found[1]) > int(found[2])):
            return False
    return True

"""Lists page by cursor: the id of the last row seen, in a `Link` header (RFC 8288)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from fastapi import Request, Response

Row = TypeVar("Row")


def one_page(
    request: Request, response: Response, rows: list[Row], limit: int, id_of: Callable[[Row], UUID]
) -> list[Row]:
    """The first `limit` of `rows`, which were asked for with one more: it tells whether there is a next page."""
    page = rows[:limit]
    if len(rows) > limit:
        url = request.url.include_query_params(cursor=id_of(page[-1]))
        # Relative: the host that a request names is its sender's word.
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return page

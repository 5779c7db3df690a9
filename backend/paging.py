"""Lists page by cursor: the id of the last row seen, in a `Link` header (RFC 8288)."""

from __future__ import annotations

from uuid import UUID

from fastapi import Request


def link_next(request: Request, last: UUID) -> str:
    return f'<{request.url.include_query_params(cursor=last)}>; rel="next"'

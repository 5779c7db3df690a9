"""One format for every process's log, on standard error."""

from __future__ import annotations

import logging

from backend.redaction import RedactingFormatter
from backend.settings import Settings

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure(settings: Settings) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter(FORMAT))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    # One line per request of our own HTTP client, or per migration context, helps nobody; and what the client's own
    # library says of a request holds the receiver's cookies.
    for chatty in ("httpx", "httpcore", "alembic.runtime"):
        logging.getLogger(chatty).setLevel(logging.WARNING)

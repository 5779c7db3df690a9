"""One format for every process's log, on standard error: lines for people, or a JSON object a line."""

from __future__ import annotations

import logging
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from backend import logs
from backend.redaction import RedactingFormatter, redact_values
from backend.settings import Settings

if TYPE_CHECKING:
    from types import TracebackType

SIGNING = ("boto3", "botocore", "s3transfer")
"""Asked for details, they write signatures that open what is stored, in lines that nothing strikes out."""
FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure(settings: Settings, **facts: str) -> None:
    """`facts` are in every line of this process's JSON log, such as a worker's name."""
    handler = logging.StreamHandler()
    json = settings.log_format == "json"
    handler.setFormatter(_json_lines(facts) if json else RedactingFormatter(FORMAT))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    if json:
        # What would be printed otherwise, in lines that are no JSON. Celery's pool has a logger that hands nothing
        # on; with a handler of ours it gets none of Celery's.
        logging.getLogger("multiprocessing").handlers = [handler]
        logging.captureWarnings(True)
        sys.excepthook = _log_exception
        threading.excepthook = lambda hook: _log_exception(hook.exc_type, hook.exc_value, hook.exc_traceback)
    # One line per request of our own HTTP client, or per migration context, helps nobody; and what the client's own
    # library says of a request holds the receiver's cookies.
    for chatty in ("httpx", "httpcore", "alembic.runtime", "urllib3", *SIGNING):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # A collector of traces that is away costs spans, and one line for each lot of them.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)


def _json_lines(always: dict[str, str]) -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter  # who logs text does not pay for it

    class JsonLines(JsonFormatter):
        """time, level, logger, message; what `backend.logs` knows; what a line brings itself; exc_info."""

        def __init__(self) -> None:
            super().__init__(
                ["levelname", "name", "message"],
                rename_fields={"levelname": "level", "name": "logger"},
                json_ensure_ascii=False,
            )

        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            log_data.pop("taskName", None)
            return {**always, **logs.facts(), **redact_values(log_data)}

        def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
            log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
            super().add_fields(log_data, record, message_dict)

    return JsonLines()


def _log_exception(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None, /) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("uncaught").critical("%s", kind.__name__, exc_info=(kind, error, trace))

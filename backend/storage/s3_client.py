"""Talking to an S3 server: one client for each address, and what its errors mean.

boto3 is loaded with the first request: a service that keeps its files in a folder never does.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from backend.settings.storage import Storage as Settings
from backend.storage.base import StorageAway

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from types_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

Result = TypeVar("Result")

ABSENT = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})
REPLACED = frozenset({"412", "PreconditionFailed"})
DAMAGED = frozenset({"XAmzContentSHA256Mismatch", "BadDigest"})
"""What arrived was not what was sent: that may go well the next time."""
PASSING_CODES = DAMAGED | {"RequestTimeout"}
PASSING_STATUSES = frozenset({408, 409, 425, 429})
"""No, but not for good."""
SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""What a machine can run out of before it gets as far as the server."""
CONNECTIONS = 32


class Clients:
    """Made when they are first asked for, so after a fork; safe to be used by many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[str, S3Client] = {}
        self._lock = threading.Lock()

    @property
    def ours(self) -> S3Client:
        return self._client(self._settings.endpoint)

    @property
    def theirs(self) -> S3Client:
        """Signs links for clients, to the address that they know."""
        return self._client(self._settings.public_endpoint or self._settings.endpoint)

    def close(self) -> None:
        """Connections that are kept open; who asks again opens new ones."""
        with self._lock:
            for client in self._made.values():
                client.close()

    def _client(self, endpoint: str) -> S3Client:
        with self._lock:
            if endpoint not in self._made:
                self._made[endpoint] = self._make(endpoint)
            return self._made[endpoint]

    def _make(self, endpoint: str) -> S3Client:
        import boto3
        from botocore.config import Config

        chosen = self._settings
        config = Config(
            signature_version="s3v4",
            # The hash of each body is part of what is signed, and the server refuses one that is not of that hash:
            # every S3 server can do so, while checksums in headers of their own are news to many.
            s3={"addressing_style": "path" if chosen.path_style else "virtual", "payload_signing_enabled": True},
            request_checksum_calculation="when_required",
            retries={"mode": "standard", "total_max_attempts": chosen.attempts},
            connect_timeout=chosen.timeout_seconds,
            read_timeout=chosen.timeout_seconds,
            max_pool_connections=CONNECTIONS,
        )
        # A session of its own: the library's common one may not be used by two threads at once.
        session = boto3.Session(
            aws_access_key_id=chosen.access_key.get_secret_value() or None,
            aws_secret_access_key=chosen.secret_key.get_secret_value() or None,
            region_name=chosen.region,
        )
        return session.client("s3", endpoint_url=endpoint or None, config=config)


class LooseThreads(ThreadPoolExecutor):
    """For the library's transfers: a thread for each step that the process doesn't wait for when it ends, as it may
    hang with the server."""

    def __init__(self, max_workers: int) -> None:
        super().__init__(max_workers)
        self._places = threading.Semaphore(max_workers)

    def submit(self, step: Callable[..., Result], /, *args: Any, **named: Any) -> Future[Result]:
        done: Future[Result] = Future()

        def run() -> None:
            try:
                done.set_result(step(*args, **named))
            except BaseException as error:
                done.set_exception(error)
            finally:
                self._places.release()

        self._places.acquire()
        threading.Thread(target=run, name="s3", daemon=True).start()
        return done


@contextmanager
def answers(what: str) -> Iterator[None]:
    """Around requests. Raises FileNotFoundError for what is not there or not as it was, OSError or MemoryError for what
    this machine lacks, else StorageAway."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    try:
        yield
    except (BotoCoreError, ClientError, HTTPClientError, Boto3Error) as error:
        code = _code(error)
        if code in ABSENT or code in REPLACED:
            raise FileNotFoundError(what) from error
        lacking = _lacking(error)
        if lacking is not None:
            raise lacking from error
        # The words of some errors have whole addresses in them, with signatures.
        log.error("storage: %s: %s", what, code or type(error).__name__)
        raise StorageAway from error


def refusal(away: BaseException) -> str:
    """The server's code for why it did not do what it was asked to; empty where it was not reached."""
    return "" if away.__cause__ is None else _code(away.__cause__)


def reached(away: BaseException) -> bool:
    """Whether it got as far as the server, which then said no, fell silent or hung up."""
    from botocore.exceptions import ConnectionError as NotConnected

    return not isinstance(away.__cause__, NotConnected)


def refused(away: BaseException) -> bool:
    """Whether the server has understood what was asked, and would say no again."""
    answer = _answer(away.__cause__)
    if answer is None or _code(answer) in PASSING_CODES:
        return False
    status = answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return 400 <= status < 500 and status not in PASSING_STATUSES


def _code(error: BaseException) -> str:
    answer = _answer(error)
    return "" if answer is None else str(answer.response.get("Error", {}).get("Code", ""))


def _answer(error: BaseException | None) -> ClientError | None:
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError) or error is None:
        return error
    # What sends files wraps the error in words of its own.
    return error.__context__ if isinstance(error.__context__, ClientError) else None


def _lacking(error: BaseException) -> OSError | MemoryError | None:
    """The system's own word is the first one below the library's."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, OSError | MemoryError):
        seen = seen.__cause__ or seen.__context__
    if isinstance(seen, MemoryError):
        return MemoryError(*seen.args)
    return OSError(*seen.args) if seen is not None and seen.errno in SHORT_OF else None

"""Fetches one published file: bounded, resumed where it was cut, and kept only when its hash is right."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from engine.errors import WeightsCorrupt, WeightsUnavailable

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes expected in all (None: not known)."""

MAX_BYTES = 1 << 30
LOG_EVERY_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Download:
    """One file's way from `url` to `target`, through `target.partial`, which later calls resume."""

    def __init__(
        self,
        url: str,
        target: Path,
        *,
        sha256: str,
        size: int | None,
        timeout: float,
        attempts: int,
        backoff: float,
        deadline: float,
    ) -> None:
        # Apart from here on: addresses are logged, and errors, which people see, name the file alone.
        self._url, self._credentials = without_credentials(url), _credentials(url)
        self._target = target
        self._sha256 = sha256
        self._size = size
        self._timeout = timeout
        self._attempts = attempts
        self._backoff = backoff
        self._deadline = time.monotonic() + deadline
        self._deadline_seconds = deadline
        self._partial = target.with_name(target.name + ".partial")
        self._etag = target.with_name(target.name + ".etag")
        self._logged = 0.0

    def run(self, on_progress: Progress | None = None) -> Path:
        """Fetch, verify and put in place. Raises WeightsUnavailable, or WeightsCorrupt for a wrong file."""
        resumed = False
        for attempt in range(1, self._attempts + 1):
            start = self._have()
            resumed = resumed or start > 0
            try:
                if start == 0 or start != self._size:
                    self._fetch(start, on_progress)
                if self._verified():
                    return self._keep()
                self._forget()
                if not resumed:
                    raise WeightsCorrupt(f"{self._target.name} came as a file whose SHA-256 is not {self._sha256}.")
                # The pieces may be of two versions of the file: once more, from the start.
                resumed = False
                fault = "the pieces did not make the published file"
            except (httpx.TransportError, _Retryable) as error:
                fault = str(error) or type(error).__name__
            except httpx.HTTPError as error:
                raise self._unavailable(str(error)) from error
            except OSError as error:
                raise self._unavailable(f"the file can't be written: {error}") from error
            logger.warning("%s: attempt %d of %d failed: %s", self._url, attempt, self._attempts, fault)
            if time.monotonic() > self._deadline:
                raise self._unavailable(f"it took longer than {self._deadline_seconds:.0f} s")
            if attempt < self._attempts:
                self._pause(min(self._backoff * 2 ** (attempt - 1), MAX_BACKOFF_SECONDS), on_progress)
        raise self._unavailable(f"{self._attempts} attempts failed, the last because {fault}")

    def _pause(self, seconds: float, on_progress: Progress | None) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if on_progress is not None:
                on_progress(self._have(), self._size)  # it may raise, to give up
            time.sleep(min(left, 0.5))

    def _fetch(self, start: int, on_progress: Progress | None) -> None:
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self._etag.exists():
                headers["If-Range"] = self._etag.read_text("utf-8")
        with (
            httpx.Client(timeout=self._timeout, follow_redirects=True, auth=self._credentials) as client,
            client.stream("GET", self._url, headers=headers) as response,
        ):
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # all bytes may be there already: the hash decides
            self._accept(response)
            resumes = response.status_code == httpx.codes.PARTIAL_CONTENT
            if resumes and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                self._forget()
                raise _Retryable("the server resumed at another byte than it was asked for")
            if not resumes:
                start = 0
                self._remember(response.headers.get("ETag", ""))
            self._receive(response, start, on_progress)
        have = self._have()
        if self._size is not None and have < self._size:
            raise _Retryable(f"it ended after {have} of {self._size} bytes")

    def _accept(self, response: httpx.Response) -> None:
        code = response.status_code
        if code in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            return
        fault = f"the server answered {code} {response.reason_phrase}"
        if code >= 500 or code in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.REQUEST_TIMEOUT):
            raise _Retryable(fault)
        raise self._unavailable(fault)

    def _receive(self, response: httpx.Response, have: int, on_progress: Progress | None) -> None:
        limit = MAX_BYTES if self._size is None else self._size
        started, first = time.monotonic(), have
        with self._partial.open("ab" if have else "wb") as out:
            for chunk in response.iter_raw():  # as it arrives: a larger chunk would be lost when cut
                have += len(chunk)
                if have > limit:
                    out.close()
                    self._forget()
                    raise WeightsCorrupt(f"{self._target.name} has more than {limit} bytes: not the published file.")
                out.write(chunk)
                if on_progress is not None:
                    on_progress(have, self._size)
                now = time.monotonic()
                self._log(have, (have - first) / max(now - started, 1e-3), now)
                if now > self._deadline:
                    raise _Retryable(f"it took longer than {self._deadline_seconds:.0f} s")

    def _log(self, have: int, speed: float, now: float) -> None:
        if now - self._logged < LOG_EVERY_SECONDS:
            return
        self._logged = now
        whole = f" of {self._size / 1e6:.1f}" if self._size else ""
        logger.info("%s: %.1f%s MB, %.1f MB/s", self._target.name, have / 1e6, whole, speed / 1e6)

    def _have(self) -> int:
        return self._partial.stat().st_size if self._partial.exists() else 0

    def _remember(self, etag: str) -> None:
        """A weak ETag can't vouch for bytes (RFC 9110, 13.1.5); without one only the hash does."""
        if etag and not etag.startswith("W/"):
            self._etag.write_text(etag, "utf-8")
        else:
            self._etag.unlink(missing_ok=True)

    def _forget(self) -> None:
        self._partial.unlink(missing_ok=True)
        self._etag.unlink(missing_ok=True)

    def _verified(self) -> bool:
        return self._partial.exists() and file_sha256(self._partial) == self._sha256

    def _keep(self) -> Path:
        os.replace(self._partial, self._target)
        self._etag.unlink(missing_ok=True)
        return self._target

    def _unavailable(self, reason: str) -> WeightsUnavailable:
        return WeightsUnavailable(f"{self._target.name} could not be fetched: {reason}.")


class _Retryable(Exception):
    """This attempt failed in a way that another one may not."""


def without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _credentials(url: str) -> tuple[str, str] | None:
    parts = urlsplit(url)
    return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def file_sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()

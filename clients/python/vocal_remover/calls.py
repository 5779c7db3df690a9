"""One request, as often as it takes: who is calling, what may be repeated, how long to wait before."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from vocal_remover.effects import Alone, Flow, Open, Sleep
from vocal_remover.errors import Busy, NotAllowed, NotConfigured, Refused, Unreachable, Unreadable, refusal
from vocal_remover.patience import Patience

API = "/api/v1"
LOCAL = "http://127.0.0.1:8000"
AGENT = "vocal-remover-client/0.1"

NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
HOPELESS = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)
"""Our own fault: the same again the next time."""
PASSING = (502, 503, 504)
LINKS = (302, 307)
NOTHING_DONE = (429, 503)
"""With a Retry-After: the service says that it has not even begun."""


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: tuple[str, ...]
    """Below the API's prefix; each part is quoted."""
    params: dict[str, str] = field(default_factory=dict)
    json: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    body: httpx.SyncByteStream | httpx.AsyncByteStream | None = None
    repeatable: bool = True
    """Whether it does no harm when the service has done it before and only its answer got lost."""
    attempts: int | None = None
    """Fewer than the patience has."""
    silence: float = 30.0
    """Seconds without a byte, after which the connection counts as lost."""
    login: bool = False
    elsewhere: bool = False
    """Whether the answer may be a link to where it lies: a storage, which is not told who is calling."""


class Caller:
    """Knows the address and who is calling, and makes requests of calls. Does no I/O: see `effects`."""

    def __init__(
        self, base_url: str | None, key: str | None, email: str | None, password: str | None, patience: Patience
    ) -> None:
        self.patience = patience
        self._base = httpx.URL(_or_environment(base_url, "URL") or LOCAL)
        if self._base.scheme not in ("http", "https") or not self._base.host:
            raise NotConfigured(f"{str(self._base)!r} is no address: it begins with http:// or https://.")
        given = key or email or password
        self._key = key if given else _or_environment(None, "KEY")
        self._email = email if given else _or_environment(None, "EMAIL")
        self._password = password if given else _or_environment(None, "PASSWORD")
        if not self._key and not (self._email and self._password):
            raise NotConfigured(
                "There is no key: give key=…, or email=… and password=…, or set VOCAL_REMOVER_KEY, or "
                "VOCAL_REMOVER_EMAIL and VOCAL_REMOVER_PASSWORD."
            )
        self._token = self._key
        self._refresh_token: str | None = None

    def ask(self, call: Call) -> Flow[Any]:
        """The JSON of the answer; raises Refused, Unreachable, Unreadable."""
        response: httpx.Response = yield from self.send(call, whole=True)
        return _json(response)

    def send(self, call: Call, whole: bool) -> Flow[httpx.Response]:
        """A good answer; raises Refused, Unreachable. One that is not read whole is for the flow to close."""
        failures, renewed = 0, False
        while True:
            if self._token is None and not call.login:
                yield Alone(self._log_in(None))
            token = self._token
            asked, at, host = None, self._request(call), self._base
            try:
                response: httpx.Response = yield Open(at, whole)
                if call.elsewhere and response.status_code in LINKS:
                    at = linked(response)
                    host = without_query(at.url)
                    response = yield Open(at, whole)
            except HOPELESS as error:
                raise NotConfigured(f"Such a request can't be sent: {error}") from error
            except httpx.TransportError as error:
                failure: Unreachable | Refused = unreachable(host, error)
                failure.__cause__ = error
                again = call.repeatable or isinstance(error, NEVER_SENT)
            else:
                if response.is_success:
                    return response
                failure = refusal(response.status_code, response.headers, _body(response))
                ours = host is self._base  # what a storage refuses, no other login makes it give
                if response.status_code == 401 and ours and self._key is None and not call.login and not renewed:
                    renewed = True  # it has expired: another is worth one attempt
                    yield Alone(self._log_in(token))
                    continue
                asked = failure.retry_after
                told = asked is not None and response.status_code in NOTHING_DONE
                again = told or (call.repeatable and response.status_code in (429, *PASSING))
            failures += 1
            wait = self.patience.wait(failures, asked) if again else None
            if wait is None or (call.attempts is not None and failures >= call.attempts):
                raise failure
            yield Sleep(wait)

    def _log_in(self, refused: str | None) -> Flow[None]:
        """A token in place of one that was refused, unless somebody got one meanwhile; by password as a last resort."""
        if self._token != refused:
            return
        if self._refresh_token is not None:
            try:
                return self._keep((yield from self._enter("refresh", {"refresh_token": self._refresh_token})))
            except NotAllowed:
                self._refresh_token = None  # that login has ended
        self._keep((yield from self._enter("login", {"email": self._email, "password": self._password})))

    def _enter(self, route: str, body: dict[str, Any]) -> Flow[Any]:
        return (yield from self.ask(Call("POST", (route,), json=body, login=True)))

    def _keep(self, answer: Any) -> None:
        if not isinstance(answer, dict) or not isinstance(answer.get("access_token"), str):
            raise Unreadable("The answer to the login has no token.")
        self._token, self._refresh_token = answer["access_token"], answer.get("refresh_token")

    def _request(self, call: Call) -> httpx.Request:
        path = "/".join(quote(part, safe="") for part in call.path)
        headers = {
            "Host": self._base.netloc.decode("ascii"),
            "User-Agent": AGENT,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        } | call.headers
        if self._token is not None and not call.login:
            headers["Authorization"] = f"Bearer {self._token}"
        return httpx.Request(
            call.method,
            self._base.copy_with(path=f"{self._base.path.rstrip('/')}{API}/{path}"),
            params=call.params or None,
            headers=headers,
            json=call.json,
            stream=call.body,
            extensions={"timeout": httpx.Timeout(call.silence, connect=10.0).as_dict()},
        )


def linked(answer: httpx.Response) -> httpx.Request:
    """For what lies elsewhere, once. The link opens it: who holds the token is nobody's business there."""
    asked = answer.request
    try:
        url = asked.url.join(answer.headers["location"])
    except (KeyError, httpx.InvalidURL) as error:
        raise Unreadable(f"The answer of {asked.url.path} has no link to what lies elsewhere.") from error
    # `If-Range` holds the service's name of the file, and the storage has another for it.
    kept = {
        name: asked.headers[name]
        for name in ("User-Agent", "Accept", "Accept-Encoding", "Range")
        if name in asked.headers
    }
    return httpx.Request("GET", url, headers=kept, extensions=asked.extensions)


def without_query(url: httpx.URL) -> httpx.URL:
    """As it may be shown: whoever has the whole of a link has the file."""
    return url.copy_with(query=None, userinfo=b"", fragment=None)


def unreachable(base: httpx.URL | str, error: httpx.TransportError) -> Unreachable:
    return Unreachable(f"The connection to {base} failed: {str(error) or type(error).__name__}.")


def is_busy(error: Exception) -> bool:
    """Whether the same may go well later, without anybody mending anything."""
    return isinstance(error, (Busy, Unreachable)) or (isinstance(error, Refused) and error.status in PASSING)


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise Unreadable(f"The answer of {response.request.url.path} is no JSON.") from error


def _body(response: httpx.Response) -> object:
    try:
        return response.json()
    except ValueError:
        return None  # of something in between, which knows no problem bodies


def _or_environment(value: str | None, name: str) -> str | None:
    return value or os.environ.get(f"VOCAL_REMOVER_{name}") or None

"""Sending one webhook, to an address that was looked at before the connection was made.

The name is resolved once and the connection goes to the address that was checked: a name server that answers
something else the next time (DNS rebinding) is not asked a next time. TLS and the Host header still use the name.
Redirects, proxies of the environment, long answers and slow ones are refused.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address

import httpx

from backend.settings.webhook import Webhook
from backend.webhook import outbox
from backend.webhook.address import WebhookUrlRefused, check_url, literal, networks, permitted
from backend.webhook.outbox import Outcome

KEPT_BYTES = 1024
"""Of an answer's body; no more of it is read."""
MOST_ADDRESSES = 4

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""(host, port) → its addresses; raises OSError for a name that has none."""


class _Failed(Exception):
    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


async def resolve(host: str, port: int) -> list[str]:
    """As the system does it, in the system's order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Sender:
    def __init__(self, settings: Webhook, *, resolve: Resolve = resolve, trusted: ssl.SSLContext | None = None) -> None:
        """`trusted`: whose certificates receivers may show; by default those that browsers trust."""
        self._settings = settings
        self._allowed = networks(settings)
        self._resolve = resolve
        self._trusted = trusted or httpx.create_ssl_context(trust_env=False)

    async def post(self, url: str, headers: Mapping[str, str], body: str) -> Outcome:
        """Never raises but when cancelled: whatever happens is an outcome."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                outcome = await self._post(url, headers, body.encode())
        except _Failed as failed:
            outcome = Outcome(failed.error)
        except (TimeoutError, httpx.TimeoutException):
            outcome = Outcome(outbox.TIMEOUT)
        except (httpx.HTTPError, OSError, UnicodeError):
            outcome = Outcome(outbox.BROKEN_ANSWER)
        return replace(outcome, milliseconds=round((time.monotonic() - began) * 1_000))

    async def _post(self, text: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        try:
            url = check_url(self._settings, text)  # again: settings may be stricter than when it was given
        except WebhookUrlRefused:
            raise _Failed(outbox.ADDRESS_REFUSED) from None
        name = url.raw_host.decode("ascii")
        addresses = await self._addresses(name, url.port or (443 if url.scheme == "https" else 80))
        error = outbox.CONNECT_FAILED
        # One client for one message: nothing of a tenant's connection, cookies or session is another's.
        whole = self._settings.timeout_seconds
        timeout = httpx.Timeout(whole, connect=whole / 3)  # time for another of its addresses
        async with httpx.AsyncClient(
            verify=self._trusted, trust_env=False, follow_redirects=False, timeout=timeout
        ) as client:
            for address in addresses:
                request = client.build_request(
                    "POST",
                    url.copy_with(host=address),
                    content=body,
                    headers={
                        **headers,
                        "Host": url.netloc.decode("ascii"),
                        "Content-Type": "application/json",
                        "User-Agent": "vocal-remover-webhooks/1",
                        "Accept-Encoding": "identity",
                    },
                    extensions={"sni_hostname": name},
                )
                try:
                    return await self._send(client, request)
                except (httpx.ConnectError, httpx.ConnectTimeout) as refused:
                    error = outbox.TLS_FAILED if _is_tls(refused) else outbox.CONNECT_FAILED
        raise _Failed(error)

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Those of a host, all of which are permitted: a name that also points inside is not believed at all."""
        address = literal(host)
        if address is not None:
            found = [str(address)]
        else:
            try:
                found = await self._resolve(host, port)
            except (OSError, UnicodeError):
                raise _Failed(outbox.NAME_UNKNOWN) from None
        if not found:
            raise _Failed(outbox.NAME_UNKNOWN)
        if not all(permitted(ip_address(address), self._allowed) for address in found):
            raise _Failed(outbox.ADDRESS_REFUSED)
        return found[:MOST_ADDRESSES]

    async def _send(self, client: httpx.AsyncClient, request: httpx.Request) -> Outcome:
        response = await client.send(request, stream=True)
        try:
            kept = b""
            async for piece in response.aiter_raw():
                kept += piece
                if len(kept) >= KEPT_BYTES:
                    break
        finally:
            await response.aclose()
        text = kept[:KEPT_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd")  # PostgreSQL keeps no NUL
        if response.is_success:
            return Outcome(None, response.status_code, text)
        error = outbox.REDIRECT_REFUSED if 300 <= response.status_code < 400 else outbox.STATUS_NOT_2XX
        return Outcome(error, response.status_code, text, _retry_after(response.headers.get("retry-after", "")))


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _retry_after(text: str) -> float:
    """Seconds; a date, which is allowed too, is not read: the schedule decides."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0.0

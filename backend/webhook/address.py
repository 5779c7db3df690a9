"""Where a webhook may point: out into the Internet, and never at what lies behind our own door.

An address of ours would make the service a tenant's arm inside the network it runs in (SSRF). The URL is looked
at when it is given, which catches mistakes; the addresses behind its name each time before a connection is made,
which is what protects.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx

from backend.problem import Problem
from backend.settings.webhook import Webhook

Network = IPv4Network | IPv6Network

_PUBLIC_V6 = IPv6Network("2000::/3")
"""What is assigned to the Internet; so `::ffff:0:0/96` (IPv4-mapped) and `64:ff9b::/96` (NAT64) are out."""

_NEVER: tuple[Network, ...] = (
    IPv4Network("100.64.0.0/10"),  # carrier's NAT; Alibaba's metadata service
    IPv4Network("168.63.129.16/32"),  # Azure's host, at an address that looks public
    IPv4Network("192.0.0.0/24"),  # protocol assignments; Oracle's metadata service
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv4Network("198.18.0.0/15"),  # benchmarks
    IPv6Network("2001::/23"),  # Teredo and other ways to carry an IPv4 address inside
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4: carries an IPv4 address inside
    IPv6Network("3fff::/20"),  # documentation
)


_HOST = re.compile(rb"[A-Za-z0-9._:-]{1,253}")


class WebhookUrlRefused(Problem):
    status = 422
    code = "webhook_url_refused"
    detail = "No webhook is sent to this URL."
    advice = "Give an https URL of a server that the Internet can reach, without name and password in it."
    field = "url"


def check_url(settings: Webhook, text: str) -> httpx.URL:
    """What can be told without asking a name server; raises WebhookUrlRefused."""
    try:
        url = httpx.URL(text)
        port, host = url.port, url.host  # a name like xn--x is taken apart only now
    except (httpx.InvalidURL, ValueError):
        raise WebhookUrlRefused("This is no URL.") from None
    if url.scheme != "https" and not (url.scheme == "http" and settings.insecure):
        raise WebhookUrlRefused("Webhooks are sent to https URLs only.")
    if not _HOST.fullmatch(url.raw_host) or not (port is None or 0 < port < 65_536):
        raise WebhookUrlRefused("The URL names no server.")
    if url.userinfo or url.fragment:
        raise WebhookUrlRefused("The URL may hold neither a password nor a fragment.")
    address = literal(host)
    if address is not None and not permitted(address, networks(settings)):
        raise WebhookUrlRefused("The URL points at an address that is not on the Internet.")
    return url


def networks(settings: Webhook) -> tuple[Network, ...]:
    """Those that the operator allows although they are private."""
    return tuple(ip_network(part.strip()) for part in settings.allowed_networks.split(",") if part.strip())


def permitted(address: IPv4Address | IPv6Address, allowed: Sequence[Network]) -> bool:
    """Whether to connect to it."""
    if any(address in network for network in allowed):
        return True
    if any(address in network for network in _NEVER) or address.is_multicast or address.is_reserved:
        return False
    return address.is_global and (isinstance(address, IPv4Address) or address in _PUBLIC_V6)


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is by itself, as the C library reads it: `127.1` and `0x7f000001` are addresses too."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None

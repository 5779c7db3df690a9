"""Why production must not start with some settings, each in a sentence that names the variable."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from limits import parse_many
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from backend.settings.account import DEVELOPMENT_SECRET, SHORTEST_SECRET
from backend.settings.web import ANY_ORIGIN

if TYPE_CHECKING:
    from backend.settings import Settings
    from backend.settings.storage import Storage

GUESSED_FIRST = frozenset(
    {
        "postgres",
        "guest",
        "minioadmin",
        "password",
        "password123",
        "admin",
        "root",
        "secret",
        "changeme",
        "change-me",
    }
)

FEWEST_CHARACTERS = 8
"""Different ones in a secret; 32 random hexadecimal digits have fewer in one of twenty million cases."""
MOST_LOGINS_A_SECOND = 10
NARROWEST_OF_ALL = 4
"""Bits of a network that is no network any more."""


def reasons(settings: Settings) -> Iterator[str]:
    yield from _secrets(settings)
    if settings.mail.host and settings.mail.tls == "none" and settings.mail.password.get_secret_value():
        yield "VR_MAIL__TLS is none: the mail server's password would travel in the clear."
    if settings.mail.link_base.startswith("http://"):
        yield "VR_MAIL__LINK_BASE is http: whoever is on the way could take over accounts; write https."
    if settings.seeds_demo_user:
        yield "VR_DEMO_USER is on: its password is public."
    if settings.payment.checkout_url.startswith("http://"):
        yield "VR_PAYMENT__CHECKOUT_URL is http: whoever is on the way could send buyers elsewhere; write https."
    storage = settings.storage
    linked = urlsplit(storage.public_endpoint or storage.endpoint)
    if storage.url and storage.links and linked.scheme == "http" and linked.hostname not in ("127.0.0.1", "localhost"):
        yield "VR_STORAGE__LINKS are http: whoever is on the way could listen; write https, or switch links off."
    if settings.webhook.insecure:
        yield "VR_WEBHOOK__INSECURE is on: what webhooks say would travel in the clear."
    if ANY_ORIGIN in settings.web.origins:
        yield "VR_WEB__ALLOWED_ORIGINS is *: every web page could read answers; name those that may."
    elif any(origin.startswith("http://") for origin in settings.web.origins):
        yield "VR_WEB__ALLOWED_ORIGINS names an http origin: its pages can be changed on the way; write https."
    if any(proxy == "*" or _is_half_the_world(proxy) for proxy in _parts(settings.limit.trusted_proxies)):
        yield "VR_LIMIT__TRUSTED_PROXIES names everybody: whoever asks could choose the address that limits count."
    if any(map(_is_half_the_world, _parts(settings.webhook.allowed_networks))):
        yield "VR_WEBHOOK__ALLOWED_NETWORKS names everything: webhooks could reach what is inside; name what they may."
    if any(item.amount / item.get_expiry() > MOST_LOGINS_A_SECOND for item in parse_many(settings.limit.login)):
        yield "VR_LIMIT__LOGIN lets an address guess passwords all day: write something like 10 per minute."
    yield from _database(settings)
    yield from _broker(settings.queue.url)
    yield from _storage(settings.storage)


def _parts(listed: str) -> list[str]:
    return [part.strip() for part in listed.split(",") if part.strip()]


def _is_half_the_world(network: str) -> bool:
    try:
        return ip_network(network, strict=False).prefixlen < NARROWEST_OF_ALL
    except ValueError:
        return False


def _secrets(settings: Settings) -> Iterator[str]:
    for place, secret in enumerate(settings.auth.secrets):
        if settings.auth.secrets_file is not None:
            name = f"line {place + 1} of VR_AUTH__SECRETS_FILE"
        else:
            name = "VR_AUTH__ACCEPTED_SECRETS" if place else "VR_AUTH__SECRET"
        if secret == DEVELOPMENT_SECRET:
            yield f"{name} is the development secret: set one of your own."
        elif len(secret) < SHORTEST_SECRET:
            yield f"{name} is shorter than {SHORTEST_SECRET} characters."
        elif len(set(secret)) < FEWEST_CHARACTERS:
            yield f"{name} repeats itself: make one with `openssl rand -hex 32`."


def _database(settings: Settings) -> Iterator[str]:
    """A password that comes with images and examples; none may be right (a socket, a certificate)."""
    try:
        url = make_url(settings.database_url)
    except ArgumentError:
        yield "VR_DB__URL is no database URL."
        return
    if url.password and _is_guessed_first(str(url.password), url.username):
        yield "VR_DB__URL has a password that is guessed first: set one of your own."


def _broker(urls: str) -> Iterator[str]:
    """Of one server or several. None may be right, except for RabbitMQ: its client then says guest."""
    try:
        servers = [urlsplit(url) for url in urls.split(";")]
    except ValueError:
        yield "VR_QUEUE__URL is no broker URL."
        return
    for server in servers:
        password = server.password or ("guest" if "amqp" in server.scheme else "")
        if password and _is_guessed_first(unquote(password), unquote(server.username or "")):
            yield "VR_QUEUE__URL has a password that is guessed first, or none for RabbitMQ: set one of your own."
            return


def _storage(storage: Storage) -> Iterator[str]:
    """Without an access key, what the machine has is used."""
    user, secret = (key.get_secret_value() for key in (storage.access_key, storage.secret_key))
    if storage.url and user and (not secret or _is_guessed_first(secret, user)):
        yield "VR_STORAGE__SECRET_KEY is empty or guessed first: set one of your own."


def _is_guessed_first(password: str, user: str | None) -> bool:
    return password in GUESSED_FIRST or password == user

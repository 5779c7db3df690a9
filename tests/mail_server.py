"""A mail server that keeps what it gets: SMTP over a real socket, as much of it as a sender needs."""

from __future__ import annotations

import re
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from backend.clock import utc_now


class _Conversation(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 here")
        self.handle_commands()

    def handle_commands(self) -> None:
        for line in self.rfile:
            verb = line.strip().upper().partition(b" ")[0]
            if verb == b"EHLO":
                self._say("250-here", *(["250-STARTTLS"] if self.server.tls else []), "250 AUTH PLAIN")
            elif verb == b"STARTTLS" and self.server.tls:
                self._say("220 go on")
                with suppress(ssl.SSLError):  # the sender does not trust us, and goes
                    self._protect(self.server.tls)
                    self.handle_commands()
                return
            elif verb == b"AUTH":
                self.server.passwords.append(line.split()[-1].decode())
                self._say("235 welcome")
            elif verb == b"MAIL" and self.server.busy > 0:
                self.server.busy -= 1
                self._say("451 come back later")
            elif verb == b"DATA":
                self._say("354 go on")
                self._take()
                self._say("250 taken")
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 fine")

    def _take(self) -> None:
        lines = []
        for line in self.rfile:
            if line == b".\r\n":
                break
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        letter = message_from_bytes(b"".join(lines), policy=SMTP)
        assert isinstance(letter, EmailMessage)
        self.server.got.append(letter)

    def finish(self) -> None:
        super().finish()
        self.connection.close()  # the protected one is not the server's to close

    def _protect(self, context: ssl.SSLContext) -> None:
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self.server.protected += 1

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.got: list[EmailMessage] = []
        self.passwords: list[str] = []
        self.tls: ssl.SSLContext | None = None
        self.protected = 0
        self.busy = 0
        """How many letters are refused for now before one is taken."""

    @property
    def settings(self) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.server_address[1], "tls": "none", "sender": "us@example.com"}

    def letters(self, count: int, to: str | None = None) -> list[EmailMessage]:
        """The first `count` letters (to somebody), once they are here."""
        give_up = time.monotonic() + 30
        while len(found := [letter for letter in self.got if to in (None, letter["To"])]) < count:
            assert time.monotonic() < give_up, f"{len(found)} of {count} letters came"
            time.sleep(0.01)
        return found[:count]


def token_in(letter: EmailMessage) -> str:
    found = re.search(r"^(?:\S+#token=)?([0-9a-f]{32}\.\d+\.[0-9a-f]{64})\r?$", letter.get_content(), re.MULTILINE)
    assert found, letter.get_content()
    return found[1]


def certificate(folder: Path) -> Path:
    """For 127.0.0.1, signed by itself; with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a mail server")])
    now = utc_now()
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    path = folder / "mail.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()

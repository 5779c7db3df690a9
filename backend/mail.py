"""Letters on their way out: over SMTP, or printed where development has no mail server.

They leave from a thread of their own: how long the server takes must not tell the asker whether there was
anybody to write to. A letter that can't be sent is dropped and said in the log; whoever waits asks again.
"""

from __future__ import annotations

import logging
import smtplib
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from threading import BoundedSemaphore, Event

from backend.settings import Settings

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 15
TRIES = 3
MOST_WAITING = 200


@dataclass(frozen=True, slots=True)
class Letter:
    to: str
    subject: str
    text: str


class Mailer:
    def __init__(self, settings: Settings) -> None:
        self._mail = settings.mail
        self._prints = settings.development and not settings.mail.host
        self._sending = ThreadPoolExecutor(1, thread_name_prefix="mail")
        self._room = BoundedSemaphore(MOST_WAITING)
        self._closing = Event()

    @property
    def sends(self) -> bool:
        return self._prints or bool(self._mail.host)

    def send(self, letter: Letter) -> None:
        """Returns at once."""
        if not self._room.acquire(blocking=False):
            log.error("a letter was dropped: %d are waiting for the mail server", MOST_WAITING)
            return
        self._sending.submit(self._deliver, letter)

    def close(self) -> None:
        """Wait for the letter under way; those that wait are dropped."""
        self._closing.set()
        self._sending.shutdown(wait=True, cancel_futures=True)

    def _deliver(self, letter: Letter) -> None:
        try:
            if self._prints:
                # Not through the log: a token in a log is a door left open.
                print(f"--- letter to {letter.to}: {letter.subject}\n{letter.text}---", file=sys.stderr, flush=True)
            else:
                self._try(self._message(letter))
        except Exception as error:  # whatever it is, the thread must live for the next letter
            log.error("a letter could not be sent: %s", type(error).__name__)  # the text may name the address
        finally:
            self._room.release()

    def _message(self, letter: Letter) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._mail.sender
        message["To"] = letter.to
        message["Subject"] = letter.subject
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=self._mail.sender.rpartition("@")[2] or "localhost")
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.text)
        return message

    def _try(self, message: EmailMessage) -> None:
        for left in reversed(range(TRIES)):
            try:
                with self._connected() as server:
                    server.send_message(message)
                return
            except (OSError, smtplib.SMTPException) as error:
                if not left or (isinstance(error, smtplib.SMTPResponseException) and error.smtp_code >= 500):
                    raise
                self._closing.wait(2 ** (TRIES - left - 1))

    def _connected(self) -> smtplib.SMTP:
        mail, context = self._mail, ssl.create_default_context()
        if mail.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(mail.host, mail.port, timeout=TIMEOUT_SECONDS, context=context)
        else:
            server = smtplib.SMTP(mail.host, mail.port, timeout=TIMEOUT_SECONDS)
        try:
            if mail.tls == "starttls":
                server.starttls(context=context)
            if mail.user:
                server.login(mail.user, mail.password.get_secret_value())
        except BaseException:
            server.close()
            raise
        return server

"""Songs that clients send to the storage themselves, so that their bytes don't pass through the API.

First a link, then the word that it was used. In between nothing is kept of it but what the client holds, signed, and
how much is to come (`pledges`). What it says of the song is believed of nothing: the bytes that arrived are fetched,
counted, hashed and probed, and those very bytes are kept. What nobody comes back for, the sweep removes.
"""

from __future__ import annotations

import hashlib
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from backend import storage as keys
from backend.auth import keyring
from backend.identity import new_id
from backend.models import Upload
from backend.problem import Problem
from backend.settings import Auth
from backend.storage import PLEDGED, SENDING, Part, Sending, StorageAway, WrongSize
from backend.storage.base import Arrived
from backend.tenant import service as tenants
from backend.tenant.scope import Scope
from backend.upload import content, pledges, service
from backend.upload.received import ReceivedFile, too_large
from backend.wiring import Wiring

PURPOSE = "sending"
ROOMS = (SENDING, PLEDGED)
LATE_SECONDS = 1800
"""How long after its links expire a song may still be looked at."""


class UploadsGoThroughApi(Problem):
    status = 409
    code = "uploads_go_through_api"
    detail = "This service takes songs through its API only."
    advice = "Send the song with POST /api/v1/uploads."


class SendingRefused(Problem):
    status = 422
    code = "upload_ticket_invalid"
    detail = "The ticket is wrong, expired, or somebody else's, or its song was deleted."
    advice = "Ask for a new link with POST /api/v1/upload-links."
    field = "ticket"


class NotArrived(Problem):
    status = 409
    code = "upload_not_arrived"
    detail = "The song, or a part of it, has not arrived yet."
    advice = "Send what is missing to the links that you were given, then say so again."


class ContentDiffers(Problem):
    status = 422
    code = "upload_differs"
    advice = "Ask for a new link, with the size and the SHA-256 of the file as you send it."


@dataclass(frozen=True, slots=True)
class Offer:
    ticket: str
    parts: list[Part]
    seconds: int


@dataclass(frozen=True, slots=True)
class _Pledge:
    """What a ticket says."""

    id: str
    tenant_id: str
    user_id: str
    filename: str
    size: int
    sha256: str
    word: str
    expires: int


def offer(wiring: Wiring, scope: Scope, filename: str, size: int, sha256: str) -> Offer:
    """Links for a song. Raises UploadsGoThroughApi, FilenameInvalid, UploadTooLarge, StorageUsedUp, LinksOutstanding,
    StorageAway."""
    sending = _sending(wiring)
    service.check_filename(filename)
    if size > wiring.settings.upload.max_bytes:
        raise too_large(wiring.settings.upload.max_bytes)
    service.require_room(wiring, scope, size)
    upload_id, seconds = new_id(), wiring.settings.storage.upload_link_seconds
    with pledges.made(wiring.storage, scope, upload_id, size) as coming:
        service.require_room(wiring, scope, size, coming)
        word, parts = sending.offer(_place(scope, upload_id), size, sha256)
    expires = int(time.time()) + seconds + LATE_SECONDS
    pledge = _Pledge(str(upload_id), str(scope.tenant_id), str(scope.user_id), filename, size, sha256, word, expires)
    return Offer(_signed(wiring.settings.auth, pledge), parts, seconds)


class Sent:
    """A song of which a client says that it was sent. Its methods block; they are the steps of `completion`."""

    def __init__(self, wiring: Wiring, scope: Scope, ticket: str) -> None:
        """Raises UploadsGoThroughApi, SendingRefused."""
        self._wiring, self._scope = wiring, scope
        self._sending = _sending(wiring)
        self._pledge = _read(wiring.settings.auth, scope, ticket)
        self.id = UUID(self._pledge.id)
        self._place = _place(scope, self.id)

    def known(self) -> Upload | None:
        """When it was looked at before."""
        return service.find(self._wiring, self._scope, self.id)

    @contextmanager
    def fetched(self) -> Iterator[Arrived]:
        """Raises FileNotFoundError, ContentDiffers, StorageAway."""
        try:
            with self._sending.arrived(self._place, self._pledge.word, self._pledge.size) as arrived:
                yield arrived
        except WrongSize as error:
            raise ContentDiffers(f"{error.size} bytes arrived, and {self._pledge.size} were to come.") from None

    def probed(self, arrived: Arrived) -> Upload:
        """Takes a core. Raises ContentDiffers, and what `service.probed` raises."""
        with arrived.file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self._pledge.sha256:
            raise ContentDiffers("The song that arrived does not have the SHA-256 that was named.")
        received = ReceivedFile(self._pledge.filename, self._pledge.size, digest)
        return service.probed(self._wiring, self._scope, self.id, arrived.file, received)

    def keep(self, arrived: Arrived, upload: Upload) -> Upload:
        """Raises FileNotFoundError when it was replaced, SendingRefused, and what `content.keep` raises."""
        try:
            content.keep(self._wiring, self._scope, upload, partial(self._sending.keep, self._place, arrived.version))
        except IntegrityError:  # said twice at once to two processes: the other one has written the row
            found = self.known()
            if found is None:
                raise SendingRefused from None
            return found
        return upload

    def withdraw(self) -> None:
        """What lies there is of no more use."""
        with suppress(StorageAway):  # then the sweep does it
            self._sending.withdraw(self._place, self._pledge.word)
        pledges.end(self._wiring.storage, self._scope, self.id)


def remove_sent(wiring: Wiring, scope: Scope) -> bool:
    """All that was sent, and not looked at, by a person or anybody in a tenant; whether all of it is gone."""
    below = f"{scope.tenant_id}" if scope.user_id is None else f"{scope.tenant_id}/{scope.user_id}"
    gone = [wiring.storage.delete(f"{room}/{below}") for room in ROOMS]
    return all(gone)


def remove_of_gone(wiring: Wiring) -> None:
    """The same of all who are not in that tenant any more: until it expires, a link may bring something again."""
    found = set()
    for room in ROOMS if wiring.storage.sending is not None else ():
        for stored in wiring.storage.listed(room):
            with suppress(ValueError):  # not of ours
                _, tenant, person, *_rest = stored.key.split("/")
                found.add((UUID(tenant), UUID(person)))
    for tenant_id, user_id in found:
        with wiring.database.read() as session:
            gone = tenants.role_of(session, tenant_id, user_id) is None
        if gone:
            remove_sent(wiring, Scope(tenant_id, user_id))


def _place(scope: Scope, upload_id: UUID) -> str:
    assert scope.user_id is not None
    return keys.sending_key(scope.tenant_id, scope.user_id, upload_id)


def _sending(wiring: Wiring) -> Sending:
    sending = wiring.storage.sending
    if sending is None:
        raise UploadsGoThroughApi
    return sending


def _signed(auth: Auth, pledge: _Pledge) -> str:
    said = urlsafe_b64encode(json.dumps(asdict(pledge)).encode()).decode()
    return f"{said}.{keyring.sign(auth, PURPOSE, said)}"


def _read(auth: Auth, scope: Scope, ticket: str) -> _Pledge:
    said, _, signature = ticket.partition(".")
    if not keyring.is_signed(auth, signature, PURPOSE, said):
        raise SendingRefused
    pledge = _Pledge(**json.loads(urlsafe_b64decode(said)))
    theirs = (pledge.tenant_id, pledge.user_id) != (str(scope.tenant_id), str(scope.user_id))
    if theirs or pledge.expires < time.time():
        raise SendingRefused
    return pledge

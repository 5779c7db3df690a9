"""Songs that people send: counted in a child process, stored under server-made keys."""

from __future__ import annotations

import hashlib
import unicodedata
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend import storage as keys
from backend.audit.service import Actor
from backend.identity import new_id
from backend.models import Upload
from backend.one_line import turns
from backend.problem import Problem
from backend.settings import Settings
from backend.tenant import limits
from backend.tenant import service as tenants
from backend.tenant.scope import Scope
from backend.upload import content, repository
from backend.upload.received import ReceivedFile
from backend.wiring import Wiring
from engine.audio import AudioInfo
from engine.audio_io import DecodeLimits, probe
from engine.errors import AudioEmpty, DecoderCrashed
from engine.receipt import is_truncated

LONGEST_FILENAME = 255
UNNAMEABLE = {"Cc", "Cs", "Zl", "Zp"}
"""Control characters, halves of characters, line and paragraph separators."""
GRACE_SECONDS = 1.0
"""By how much decoding may exceed the count of the packets (padding of the last ones)."""


class UploadNotFound(Problem):
    status = 404
    code = "upload_not_found"
    detail = "There is no such song."
    advice = "Send it with POST /api/v1/uploads; GET /api/v1/uploads lists yours."


class FilenameInvalid(Problem):
    status = 422
    code = "filename_invalid"
    detail = "A file name has no `/`, `\\` or control characters, is not `.` or `..`, and has 1 to 255 bytes."
    advice = "Send the bare name of the file, such as song.mp3."


class UploadInUse(Problem):
    status = 409
    code = "upload_in_use"
    detail = "A task that is not finished needs this song."
    advice = "Wait for the task or cancel it, then delete the song."


def decode_limits(settings: Settings, seconds: float | None = None) -> DecodeLimits:
    """For a song that was counted, its `seconds` are the cap; for a new one, the longest that is allowed."""
    longest = settings.upload.max_seconds if seconds is None else seconds
    return DecodeLimits(seconds=longest, memory_bytes=settings.upload.decode_memory_bytes)


def store(wiring: Wiring, scope: Scope, file: Path, received: ReceivedFile) -> Upload:
    """Probe a received file, move it to its place, then write its row: a row never lacks its file.

    Raises FilenameInvalid, StorageUsedUp, StorageAway and the engine's AudioUndecodable, AudioEmpty, AudioTooLong,
    AudioHostile.
    """
    upload = probed(wiring, scope, new_id(), file, received)
    content.keep(wiring, scope, upload, partial(wiring.storage.adopt, file))
    return upload


def probed(wiring: Wiring, scope: Scope, upload_id: UUID, file: Path, received: ReceivedFile) -> Upload:
    """Its row, for `content.keep`. Raises what `store` does."""
    check_filename(received.filename)
    if received.size == 0:
        raise AudioEmpty("The file is empty: it has 0 bytes.")
    if not content.is_kept(wiring, scope, received.sha256, received.size):
        require_room(wiring, scope, received.size)
    key = keys.upload_key(scope.tenant_id, upload_id)
    return _row(wiring, scope, file, received, id=upload_id, storage_key=key)


def require_room(wiring: Wiring, scope: Scope, size: int = 0, coming: int = 0) -> None:
    """Before anything is done with a song of this size; when it is kept it is counted for good. `coming` are bytes
    that others may bring first. Raises StorageUsedUp.
    """
    with wiring.database.read() as session:
        limits.use_storage(session, limits.look(session, wiring.settings, scope.tenant_id), size, coming)


def find_named(wiring: Wiring, scope: Scope, filename: str) -> Upload:
    """The caller's newest upload of that name, else the song of the sample library.

    Raises FilenameInvalid, UploadNotFound.
    """
    check_filename(filename)
    with wiring.database.read() as session:
        own = repository.newest_named(session, scope, filename, sample=False)
        found = own or repository.newest_named(session, scope, filename, sample=True)
    return found or _take_sample(wiring, scope, filename)


def find(wiring: Wiring, scope: Scope, upload_id: UUID) -> Upload | None:
    with wiring.database.read() as session:
        return repository.get(session, scope, upload_id)


def get(session: Session, scope: Scope, upload_id: UUID) -> Upload:
    """Raises UploadNotFound, for a stranger's song as for none."""
    found = repository.get(session, scope, upload_id)
    if found is None:
        raise UploadNotFound
    return found


def keep(session: Session, scope: Scope, upload_id: UUID) -> Upload:
    """The song, which nobody deletes until the transaction ends; raises UploadNotFound."""
    found = repository.lock(session, scope, upload_id, shared=True)
    if found is None:
        raise UploadNotFound
    return found


def page(session: Session, scope: Scope, *, before: UUID | None, limit: int) -> list[Upload]:
    return repository.page(session, scope, before=before, limit=limit)


def delete(wiring: Wiring, scope: Scope, upload_id: UUID, keeper: Actor | None) -> None:
    """Row first, then the file: what is interrupted between leaves a file that no row names.

    For `keeper` see `tenants.take_up`. Raises UploadNotFound, UploadInUse.
    """
    with wiring.database.write() as session:
        upload = repository.lock(session, scope, upload_id, shared=False)
        if upload is None and keeper is not None:
            left = repository.lock(session, Scope(scope.tenant_id, None), upload_id, shared=False)
            upload = tenants.take_up(session, keeper, left, "upload.deleted")
        if upload is None:
            raise UploadNotFound
        owner = Scope(upload.tenant_id, upload.user_id)
        if repository.in_use(session, owner, upload_id):
            raise UploadInUse
        repository.mark_deleted(session, owner, upload_id)
    if not upload.sample:
        content.remove_files(wiring, [upload.storage_key])


def audio_info(upload: Upload) -> AudioInfo:
    """What probing found when the song arrived, for the engine."""
    return AudioInfo(
        container=upload.container,
        codec=upload.codec,
        rate=upload.rate,
        channels=upload.channels,
        seconds=upload.seconds,
        declared_seconds=upload.declared_seconds,
    )


def container_name(upload: Upload) -> str:
    """FFmpeg names a family of containers by all their suffixes; people know this one as mp4."""
    return "mp4" if upload.container.startswith("mov,") else upload.container


def warnings(upload: Upload) -> list[tuple[str, str]]:
    """(code, sentence) for each thing that seems wrong with a song that can be separated all the same."""
    declared = upload.declared_seconds
    if declared is None or not is_truncated(declared, upload.seconds):
        return []
    return [("truncated", f"Its header says {declared:.1f} s but only {upload.seconds:.1f} s of audio are there.")]


def check_filename(filename: str) -> None:
    """Raises FilenameInvalid. Names are never part of a path as they stand; this catches mistakes early."""
    fine = (
        0 < len(filename.encode("utf-8", "surrogatepass")) <= LONGEST_FILENAME
        and filename not in (".", "..")
        and not set(filename) & {"/", "\\"}
        and not any(unicodedata.category(character) in UNNAMEABLE for character in filename)
        and not turns(filename)
    )
    if not fine:
        raise FilenameInvalid


def _take_sample(wiring: Wiring, scope: Scope, filename: str) -> Upload:
    """The caller's row for a song of the sample library, which stays where it is."""
    source = wiring.settings.sample_dir / filename
    if source.is_symlink() or not source.is_file() or source.suffix == ".md":
        raise UploadNotFound(f"There is no song named {filename!r} among your uploads or in the sample library.")
    with source.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    received = ReceivedFile(filename, source.stat().st_size, digest)
    key = keys.sample_key(filename)
    upload = _row(wiring, scope, source, received, id=new_id(), storage_key=key, sample=True)
    try:
        with wiring.database.write() as session:
            limits.admit(session, wiring.settings, scope)
            repository.add(session, upload)
    except IntegrityError:  # another request of theirs was faster
        with wiring.database.read() as session:
            return repository.newest_named(session, scope, filename, sample=True) or upload
    return upload


def _row(wiring: Wiring, scope: Scope, file: Path, received: ReceivedFile, **more: Any) -> Upload:
    """The row of a file, with what probing it finds."""
    assert scope.user_id is not None
    info = _probed(file, decode_limits(wiring.settings))
    return Upload(
        tenant_id=scope.tenant_id,
        user_id=scope.user_id,
        filename=received.filename,
        size=received.size,
        sha256=received.sha256,
        container=info.container,
        codec=info.codec,
        rate=info.rate,
        channels=info.channels,
        seconds=info.seconds,
        declared_seconds=info.declared_seconds,
        **more,
    )


def _probed(file: Path, limits: DecodeLimits) -> AudioInfo:
    try:
        return probe(file, limits)
    except DecoderCrashed:  # it may have been ended from outside; a file that does it does it again
        return probe(file, limits)

"""Songs by what they hold: a tenant keeps one file of the same bytes, however many rows show it.

A row may come to a file only while another row of its tenant keeps it, and holds that row until its transaction ends;
the rows of a file that was lost come all at once to one that was just put there. So once no kept row has a file, none
ever will: whoever looks after the commit of a deletion, and sees none, removes the file, and two that do so at once do
no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from backend import removal
from backend.models import Upload
from backend.tenant import limits
from backend.tenant import service as tenants
from backend.tenant.scope import Scope
from backend.upload import repository
from backend.wiring import Wiring


def keep(wiring: Wiring, scope: Scope, upload: Upload, put: Callable[[str], None]) -> None:
    """Write the row, with its file in its place first: by `put`, under its key, or that of the same content.

    Where the file of the same content is lost, those rows come to this one. Raises StorageUsedUp, MembershipEnded,
    StorageAway and what `put` raises.
    """
    own = upload.storage_key
    keeping = _Keeping(wiring, scope, upload, put)
    try:
        while (first := keeping.write()) is not None:
            first()
    except BaseException:
        # Of a commit that failed it is not known whether it was one: the server may still be at it, and the row may
        # come. Then the file stays, for the check for orphans.
        if keeping.there and (not keeping.committing or upload.storage_key != own):
            with suppress(SQLAlchemyError):  # asked all the same: who says twice that a song was sent has one key
                _remove(wiring, [own])
        raise
    if keeping.there and upload.storage_key != own:  # another request with the same song was faster
        wiring.storage.delete(own)
    with suppress(SQLAlchemyError):  # where its size was wrong it lies there still
        _remove(wiring, keeping.replaced)


def is_kept(wiring: Wiring, scope: Scope, sha256: str, size: int) -> bool:
    """Whether the tenant has a file of this content now."""
    with wiring.database.read() as session:
        return repository.twin(session, scope.tenant_id, sha256, size) is not None


def unused(wiring: Wiring, storage_keys: Collection[str]) -> list[str]:
    """Of files whose rows were deleted: those that no kept song has. To be asked after the commit."""
    if not storage_keys:
        return []
    with wiring.database.read() as session:
        kept = repository.kept(session, storage_keys)
    return [key for key in storage_keys if key not in kept]


def remove_files(wiring: Wiring, storage_keys: Collection[str]) -> bool:
    """Of deleted songs, unless others have them; whether all that was to go is gone. See `removal.remove_soon`."""
    return removal.remove_soon(wiring.storage, unused(wiring, storage_keys))


def _remove(wiring: Wiring, storage_keys: Collection[str]) -> None:
    """The same, and done when it returns: the client may bring the song again under this key."""
    removal.remove(wiring.storage, unused(wiring, storage_keys))


@dataclass(slots=True)
class _Keeping:
    wiring: Wiring
    scope: Scope
    upload: Upload
    put: Callable[[str], None]
    there: bool = False
    whole: dict[str, bool] = field(default_factory=dict)
    """Files of the same content that were looked at: whether they are as their rows say."""
    replaced: list[str] = field(default_factory=list)
    committing: bool = False
    """Nothing is left to do but to commit."""

    def write(self) -> Callable[[], None] | None:
        """What has to be done first: with no transaction open, for it asks the storage."""
        upload, tenant_id = self.upload, self.scope.tenant_id
        with self.wiring.database.write() as session:
            # One after the other: two that send the same song at once shall not both keep a file of it.
            tenants.lock(session, tenant_id)
            twin = repository.twin(session, tenant_id, upload.sha256, upload.size)
            if twin is not None and twin not in self.whole:
                return partial(self._look, twin)
            shared = twin is not None and self.whole[twin]
            if not shared and not self.there:
                return self._bring
            admitted = limits.admit(session, self.wiring.settings, self.scope)
            if twin is None:
                limits.use_storage(session, admitted, upload.size)
            elif shared:
                upload.storage_key = twin
            else:
                repository.move(session, tenant_id, twin, upload.storage_key)
                self.replaced = [twin]
            repository.add(session, upload)
            self.committing = True
        return None

    def _bring(self) -> None:
        self.put(self.upload.storage_key)
        self.there = True

    def _look(self, twin: str) -> None:
        try:
            self.whole[twin] = self.wiring.storage.size(twin) == self.upload.size
        except FileNotFoundError:
            self.whole[twin] = False

"""How much may still come by the links that a tenant was given: an empty file for each, named by its bytes.

They lie in the storage beside what is sent, so every host counts the same, and what removes the one removes the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from backend.problem import Problem
from backend.storage import PLEDGED, SENDING, Storage, pledged_key
from backend.tenant.scope import Scope

MOST = 500
"""Songs of a tenant that are on their way by links."""
RETRY_SECONDS = 60


class LinksOutstanding(Problem):
    status = 429
    code = "links_outstanding"
    detail = f"{MOST} songs of your tenant are on their way by links."
    advice = "Complete those that were sent, wait until links expire, or send the song with POST /api/v1/uploads."
    headers = {"Retry-After": str(RETRY_SECONDS)}


@contextmanager
def made(storage: Storage, scope: Scope, upload_id: UUID, size: int) -> Iterator[int]:
    """A pledge that stays if the block goes well; gives the bytes that others may bring. Raises LinksOutstanding."""
    # First: of two that come at once neither overlooks the other, and at worst both are refused.
    with storage.incoming() as folder:
        (folder / "pledge").touch()
        storage.adopt(folder / "pledge", f"{_key(scope, upload_id)}/{size}")
    try:
        sizes = _outstanding(storage, scope.tenant_id)
        if len(sizes) > MOST:
            raise LinksOutstanding
        yield sum(sizes.values()) - size
    except BaseException:
        end(storage, scope, upload_id)
        raise


def end(storage: Storage, scope: Scope, upload_id: UUID) -> None:
    storage.delete(_key(scope, upload_id))


def _outstanding(storage: Storage, tenant_id: UUID) -> dict[str, int]:
    """Bytes by songs: what may come, and what has come without a pledge, by a link that was used again."""
    sizes: dict[str, int] = {}
    for stored in storage.listed(f"{PLEDGED}/{tenant_id}"):
        *_, song, size = stored.key.split("/")
        sizes[song] = int(size)
    for stored in storage.listed(f"{SENDING}/{tenant_id}"):
        sizes.setdefault(stored.key.rpartition("/")[2], stored.size)
    return sizes


def _key(scope: Scope, upload_id: UUID) -> str:
    assert scope.user_id is not None
    return pledged_key(scope.tenant_id, scope.user_id, upload_id)

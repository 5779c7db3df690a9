"""The word that a song was sent, from the ticket to the row: each step where it keeps nobody else waiting."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from backend.models import Upload
from backend.tenant.limits import StorageUsedUp
from backend.tenant.scope import Scope
from backend.threads import in_thread
from backend.upload.admission import Admission, StorageTurns
from backend.upload.sending import ContentDiffers, NotArrived, Sent
from backend.wiring import Wiring
from engine.errors import EngineError


async def complete(wiring: Wiring, scope: Scope, ticket: str, admission: Admission, turns: StorageTurns) -> Upload:
    """Keep what was sent, as `service.store` does; the same song when it was said before.

    Raises UploadsGoThroughApi, SendingRefused, NotArrived, ContentDiffers, UploadsBusy, StorageAway, and all that
    `store` raises. What can't become right by waiting is removed.
    """
    sent = Sent(wiring, scope, ticket)
    known = await in_thread(sent.known)
    if known is not None:
        return known
    with admission.place(scope.tenant_id):
        async with turns.turn(scope.tenant_id, str(sent.id)):
            known = await in_thread(sent.known)  # somebody may have said so while this one waited
            return await _complete(sent, admission, turns) if known is None else known


async def _complete(sent: Sent, admission: Admission, turns: StorageTurns) -> Upload:
    try:
        with ExitStack() as stack:
            arrived = await turns.run(partial(stack.enter_context, sent.fetched()))
            upload = await admission.count(partial(sent.probed, arrived))
            upload = await turns.run(partial(sent.keep, arrived, upload))
    except FileNotFoundError:
        # Another process may have heard it at the same time.
        known = await in_thread(sent.known)
        if known is None:
            raise NotArrived from None
        return known
    except (ContentDiffers, EngineError, StorageUsedUp):
        await turns.run(sent.withdraw)
        raise
    await turns.run(sent.withdraw)
    return upload

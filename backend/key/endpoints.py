from __future__ import annotations

from fastapi import APIRouter

from backend.auth.caller import AdminCaller, InPerson, LoggedIn
from backend.errors import describes
from backend.identity import PathId
from backend.key import service
from backend.key.schemas import KeyShown, KeyView, NewKey, view
from backend.sessions import Reading, Writing

router = APIRouter(prefix="/keys", tags=["account"], responses=describes(401, 403))


@router.post("", status_code=201, responses=describes(409, 422))
def create_key(body: NewKey, caller: LoggedIn, session: Writing) -> KeyShown:
    """Make an API key for a program. It is shown this once; afterwards only its hash is kept.

    Send it as `Authorization: Bearer <key>` or `Authorization: Key <key>`. A key can't make keys.
    """
    row, key = service.create(session, caller.actor, caller.scope, body.name, body.scopes, body.expires_at)
    return KeyShown(**view(row).model_dump(), key=key)


@router.get("")
def keys(caller: AdminCaller, session: Reading) -> list[KeyView]:
    """Your API keys, newest first, without those that were revoked."""
    return [view(row) for row in service.listed(session, caller.scope)]


@router.delete("/{key_id}", status_code=204, responses=describes(404))
def revoke_key(key_id: PathId, caller: InPerson, session: Writing) -> None:
    """Revoke an API key: the next request with it is refused."""
    service.revoke(session, caller.actor, caller.scope, key_id)

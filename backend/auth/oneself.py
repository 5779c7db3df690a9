"""What people may do about themselves although their tenant is suspended: dependencies beside those of `caller`.

They may see where else they are and go there, end their logins, change a password that others know, and go.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import SecurityScopes

from backend.auth.caller import Bearer, Caller, Form, Key, in_person, let_in, with_login
from backend.sessions import WiringOf


async def anyway(
    request: Request, wiring: WiringOf, needed: SecurityScopes, _form: Form, _bearer: Bearer, _key: Key
) -> Caller:
    return await let_in(request, wiring, needed, suspended_too=True)


async def own_login(caller: Annotated[Caller, Security(anyway, scopes=["admin"])]) -> Caller:
    """Raises LoginNeeded."""
    return await with_login(caller)


async def oneself(caller: Annotated[Caller, Depends(own_login)]) -> Caller:
    """Raises LoginNeeded, NotWhileImpersonating."""
    return await in_person(caller)


ReadingAnyway = Annotated[Caller, Security(anyway, scopes=["read"])]
OwnLogin = Annotated[Caller, Depends(own_login)]
"""Also an operator who acts as somebody else."""
Oneself = Annotated[Caller, Depends(oneself)]
"""Who has logged in, in person."""

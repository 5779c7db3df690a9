"""What somebody may do in their tenant, and with the whole service: dependencies above `caller`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, get_args

from fastapi import Depends

from backend.auth.caller import AdminCaller, Caller, LoggedIn, ReadingCaller
from backend.models.membership import Role
from backend.problem import Problem

RANKS = {role: rank for rank, role in enumerate(reversed(get_args(Role)))}
"""member, admin, owner: each may do what those before it may."""


class RoleNeeded(Problem):
    status = 403
    code = "role_needed"
    advice = "Ask an owner or admin of your tenant."

    def __init__(self, needed: str) -> None:
        super().__init__(f"This is for somebody who is {needed} here.")


class OperatorNeeded(Problem):
    status = 403
    code = "operator_needed"
    detail = "This is for the operators of the service."
    advice = "An operator is made with `vocal-remover admin operator add EMAIL`."


def _at_least(role: Role, caller: Caller) -> Caller:
    if RANKS[caller.role] < RANKS[role]:
        raise RoleNeeded(role)
    return caller


async def tenant_reader(caller: ReadingCaller) -> Caller:
    """Raises RoleNeeded."""
    return _at_least("admin", caller)


async def tenant_admin(caller: AdminCaller) -> Caller:
    """Raises RoleNeeded."""
    return _at_least("admin", caller)


async def tenant_keeper(caller: LoggedIn) -> Caller:
    """Raises LoginNeeded, RoleNeeded."""
    return _at_least("admin", caller)


async def tenant_owner(caller: LoggedIn) -> Caller:
    """Raises LoginNeeded, RoleNeeded."""
    return _at_least("owner", caller)


async def operator(caller: LoggedIn) -> Caller:
    """Raises LoginNeeded, OperatorNeeded."""
    if not caller.operator:
        raise OperatorNeeded
    return replace(caller, in_office=True)


TenantReader = Annotated[Caller, Depends(tenant_reader)]
"""An admin's or owner's look, also with a key that may read."""
TenantAdmin = Annotated[Caller, Depends(tenant_admin)]
TenantKeeper = Annotated[Caller, Depends(tenant_keeper)]
"""An admin or owner who has logged in: a stolen key must not let anybody in, nor put anybody out."""
TenantOwner = Annotated[Caller, Depends(tenant_owner)]
"""Who has logged in: what can't be undone is not for keys."""
Operator = Annotated[Caller, Depends(operator)]

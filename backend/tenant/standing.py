"""What every request must know of its tenant: read in the statement that finds out who is calling."""

from __future__ import annotations

from dataclasses import dataclass

from backend.models import Tenant, TenantLimit
from backend.problem import Problem


class TenantSuspended(Problem):
    status = 403
    code = "tenant_suspended"
    detail = "This account is suspended: nothing is lost, and nothing can be done with it now."
    advice = "Ask the operator of the service."


@dataclass(frozen=True, slots=True)
class Standing:
    suspended: bool
    requests: str | None
    """How often its people together may ask, where that is not as the settings say."""
    shares_audio: bool
    name: str


NOTHING_SPECIAL = Standing(suspended=False, requests=None, shares_audio=False, name="")

STANDING = (Tenant.suspended_at.is_not(None), TenantLimit.requests, Tenant.shares_audio, Tenant.name)
"""Columns for a `Standing`, of a statement that joins the tenant and, from outside, its limits."""

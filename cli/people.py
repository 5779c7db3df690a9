"""`vocal-remover users`: accounts made and credits granted by the operator."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.admin import service as admin
from backend.admin.schemas import MOST_CREDITS
from backend.audit.service import COMMAND
from backend.auth import service as auth
from backend.auth.password import hash_password
from backend.setting import service as running
from backend.settings import Settings
from backend.tenant.limits import TenantUnknown
from backend.user import service as users
from cli.session import writing

app = typer.Typer(no_args_is_help=True, add_completion=False)

Credits = Annotated[float, typer.Option(min=0, max=MOST_CREDITS, help="Credits to grant.")]


@app.command()
def add(
    email: str,
    password: Annotated[str, typer.Option(prompt=True, confirmation_prompt=True, hide_input=True)],
    credits: Credits = 10,
) -> None:
    """Make an account with a tenant of its own."""
    hashed = hash_password(password)
    with writing() as session:
        users.create(session, email, hashed, granted=round(credits * 1000))
    typer.echo(f"{email} can log in and has {credits:g} credits.")


@app.command()
def grant(email: str, credits: Credits = 10, reason: str = "granted by the operator") -> None:
    """Give somebody credits."""
    with writing() as session:
        users.grant(session, email, round(credits * 1000), reason)
    typer.echo(f"{email} got {credits:g} credits.")


@app.command()
def plan(email: str, plan: str) -> None:
    """Put somebody's tenant on a plan: how many turns it has in the queue (see VR_QUEUE__PLANS)."""
    with writing() as session:
        settings = running.effective(Settings(), running.stored(session))
        user = users.by_email(session, email)
        if user is None:
            raise users.UnknownUser
        tenant_id = users.home_tenant(session, user.id)
        if tenant_id is None:
            raise TenantUnknown
        admin.set_plan(session, settings, COMMAND, tenant_id, plan)
    typer.echo(f"{email} is on the plan {plan}: {settings.queue.plans[plan]} in each round.")


@app.command()
def invite(
    email: Annotated[str | None, typer.Option(help="Only this address may use it.")] = None,
    days: Annotated[float, typer.Option(help="How long it is good.", min=0.01)] = 14,
) -> None:
    """Print a code with which one person may register (see VR_AUTH__INVITATION_ONLY)."""
    with writing() as session:
        code = users.invite(session, email, days)
    typer.echo(code)


@app.command()
def logout(email: str, keys: Annotated[bool, typer.Option(help="Revoke API keys as well.")] = False) -> None:
    """End every login of a person, at once."""
    with writing() as session:
        found = users.by_email(session, email)
        if found is None:
            raise users.UnknownUser
        auth.end_logins(session, COMMAND, users.home_tenant(session, found.id), found.id, also_keys=keys)
    typer.echo(f"{email} is logged out everywhere.")

"""`vocal-remover admin`: what operators do over HTTP below /api/v1/admin, done on the machine itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import typer
from sqlalchemy.orm import Session

from backend.admin import service, views
from backend.admin.schemas import MOST_CREDITS
from backend.audit import service as log
from backend.audit.schemas import operator_view
from backend.audit.service import COMMAND
from backend.setting import service as running
from backend.settings import Settings
from backend.tenant.limits import TenantUnknown
from backend.user import service as users
from cli.admin_tables import show, show_tenant
from cli.session import writing

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
tenant_app = typer.Typer(no_args_is_help=True, help="One tenant.")
limits_app = typer.Typer(no_args_is_help=True, help="What a tenant may use.")
operator_app = typer.Typer(no_args_is_help=True, help="Who runs the service.")
settings_app = typer.Typer(no_args_is_help=True, help="Settings that change while the service runs.")
for name, group in (
    ("tenant", tenant_app),
    ("limits", limits_app),
    ("operator", operator_app),
    ("settings", settings_app),
):
    app.add_typer(group, name=name)

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Search = Annotated[str | None, typer.Option(help="Part of a name or address.")]
Lines = Annotated[int, typer.Option(min=1, help="How many at most.")]
Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Its id, or the address of somebody who logs in to it.")]
Reason = Annotated[str, typer.Argument(help="Kept in the audit log: name nobody in it.")]


@app.command()
def overview(as_json: Json = False) -> None:
    """Queue, workers, failures of the last day, ledger, storage."""
    with writing() as session:
        found = views.overview(service.overview(session, _settings(session)))
    show([found], as_json)


@app.command()
def tenants(
    search: Search = None,
    status: Annotated[Literal["active", "suspended", "erased"] | None, typer.Option()] = None,
    lines: Lines = 100,
    as_json: Json = False,
) -> None:
    """Tenants, newest first."""
    with writing() as session:
        found = service.find_tenants(session, part=search, state=status, before=None, limit=lines)
    show([views.tenant_row(row) for row in found], as_json)


@app.command("users")
def people(
    search: Search = None,
    status: Annotated[Literal["active", "deactivated", "operator", "erased"] | None, typer.Option()] = None,
    lines: Lines = 100,
    as_json: Json = False,
) -> None:
    """People, newest first."""
    with writing() as session:
        found = service.find_users(session, part=search, state=status, before=None, limit=lines)
    show([views.user_row(row) for row in found], as_json)


@tenant_app.command("show")
def show_one(tenant: Tenant, as_json: Json = False) -> None:
    """A tenant with its people, limits, credits and tasks."""
    with writing() as session:
        found = views.tenant_detail(service.tenant_file(session, _settings(session), _tenant(session, tenant)))
    show([found], True) if as_json else show_tenant(found)


@app.command()
def suspend(tenant: Tenant, reason: Reason) -> None:
    """Stop a tenant: nothing is lost, and its people can do nothing until it is resumed."""
    with writing() as session:
        service.suspend(session, COMMAND, _tenant(session, tenant), reason)
    typer.echo("Suspended.")


@app.command()
def resume(tenant: Tenant) -> None:
    """Let a suspended tenant go on."""
    with writing() as session:
        service.resume(session, COMMAND, _tenant(session, tenant))
    typer.echo("Resumed.")


@app.command()
def plan(tenant: Tenant, plan: str) -> None:
    """Put a tenant on a plan: how many turns it has in the queue (setting queue.plans)."""
    with writing() as session:
        service.set_plan(session, _settings(session), COMMAND, _tenant(session, tenant), plan)
    typer.echo(f"On the plan {plan}.")


@limits_app.command("set")
def set_limits(
    tenant: Tenant,
    requests: Annotated[str | None, typer.Option(help="Of its people together, like '3000 per minute'.")] = None,
    concurrent_tasks: int | None = None,
    monthly_seconds: Annotated[float | None, typer.Option(help="Of audio.")] = None,
    storage_bytes: int | None = None,
    retention_days: int | None = None,
    unset: Annotated[list[str] | None, typer.Option(help="Give one back to the settings, by its name.")] = None,
) -> None:
    """Change what is named; the others stay."""
    given: dict[str, Any] = {
        "requests": requests,
        "concurrent_tasks": concurrent_tasks,
        "monthly_seconds": monthly_seconds,
        "storage_bytes": storage_bytes,
        "retention_days": retention_days,
    }
    back = [each.replace("-", "_") for each in unset or ()]
    if unknown := set(back) - set(given):
        raise typer.BadParameter(f"there is no limit {', '.join(sorted(unknown))}")
    changes = {name: value for name, value in given.items() if value is not None} | dict.fromkeys(back)
    with writing() as session:
        service.set_limits(session, COMMAND, _tenant(session, tenant), changes)
    typer.echo(f"Changed: {', '.join(changes) or 'nothing'}.")


@app.command()
def grant(
    email: str,
    credits: Annotated[float, typer.Argument(min=0.001, max=MOST_CREDITS)],
    reason: Annotated[str, typer.Option(help="The person sees it in their ledger.")] = "granted by the operator",
    days: Annotated[float | None, typer.Option(min=0.01, max=36_500, help="Then what is left of them goes.")] = None,
) -> None:
    """Give somebody credits."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with writing() as session:
        user_id = _user(session, email)
        users.grant_to(session, COMMAND, user_id, round(credits * 1_000), reason, expires_at=expires_at)
    typer.echo(f"{email} got {credits:g} credits.")


@operator_app.command("list")
def list_operators(lines: Lines = 100, as_json: Json = False) -> None:
    """Who is one."""
    people(status="operator", lines=lines, as_json=as_json)


@operator_app.command("add")
def add_operator(email: str) -> None:
    """Let somebody use /api/v1/admin."""
    with writing() as session:
        service.set_operator(session, COMMAND, _user(session, email), True)
    typer.echo(f"{email} is an operator.")


@operator_app.command("remove")
def remove_operator(email: str) -> None:
    """Not any more; their logins end."""
    with writing() as session:
        service.set_operator(session, COMMAND, _user(session, email), False)
    typer.echo(f"{email} is no operator.")


@app.command()
def deactivate(email: str, reason: Reason) -> None:
    """A person's logins end and their keys are refused, at once."""
    with writing() as session:
        service.deactivate(session, COMMAND, _user(session, email), reason)
    typer.echo(f"{email} can't log in.")


@app.command()
def activate(email: str) -> None:
    """Let a deactivated person log in again."""
    with writing() as session:
        service.activate(session, COMMAND, _user(session, email))
    typer.echo(f"{email} can log in.")


@app.command()
def audit(
    tenant: Annotated[str | None, typer.Option(help="Of this one alone.")] = None,
    action: Annotated[str | None, typer.Option(help="Like tenant.suspended.")] = None,
    lines: Lines = 20,
    as_json: Json = False,
) -> None:
    """Who did what lately; the newest comes last."""
    with writing() as session:
        tenant_id = None if tenant is None else _tenant(session, tenant)
        found = log.everywhere(session, tenant_id=tenant_id, action=action, before=None, limit=lines)
    show([operator_view(row) for row in reversed(found)], as_json)


@settings_app.command("list")
def list_settings(as_json: Json = False) -> None:
    """What may be changed while the service runs, and what is in force."""
    with writing() as session:
        found = [views.setting(known) for known in running.listed(session, Settings())]
    show(found, as_json)


@settings_app.command("set")
def set_setting(name: str, value: Annotated[str, typer.Argument(help="As JSON; a word or sentence as it is.")]) -> None:
    """Change one: in force in every process within two seconds."""
    try:
        given = json.loads(value)
    except ValueError:
        given = value
    with writing() as session:
        service.change_setting(session, Settings(), COMMAND, name, given)
    typer.echo(f"{name} is {value}.")


@settings_app.command("unset")
def unset_setting(name: str) -> None:
    """Back to what the environment says."""
    with writing() as session:
        service.unset_setting(session, Settings(), COMMAND, name)
    typer.echo(f"{name} is as the environment says.")


def _settings(session: Session) -> Settings:
    """Those in force in the service."""
    return running.effective(Settings(), running.stored(session))


def _user(session: Session, email: str) -> UUID:
    user = users.by_email(session, email)
    if user is None:
        raise users.UnknownUser
    return user.id


def _tenant(session: Session, named: str) -> UUID:
    if "@" not in named:
        try:
            return UUID(named)
        except ValueError:
            raise TenantUnknown from None
    tenant_id = users.home_tenant(session, _user(session, named))
    if tenant_id is None:
        raise TenantUnknown
    return tenant_id

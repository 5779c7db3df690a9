"""What is asked of a whole database, of all tenants."""

from __future__ import annotations

from sqlalchemy import column, func, inspect, select, table, text
from sqlalchemy.orm import Session

from backend.models import Base
from backend.tenant.scope import serves_every_tenant


@serves_every_tenant
def exported_snapshot(session: Session) -> str:
    """PostgreSQL: the name by which pg_dump sees what this transaction sees, while it lasts: also when
    that takes longer than other transactions may idle."""
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    return str(session.scalars(select(func.pg_export_snapshot())).one())


@serves_every_tenant
def revision(session: Session) -> str:
    """The migration at which the database stands."""
    return session.scalars(select(column("version_num")).select_from(table("alembic_version"))).one()


@serves_every_tenant
def counts(session: Session) -> dict[str, int]:
    """Rows by table, of those that are there."""
    there = set(inspect(session.connection()).get_table_names())
    return {
        name: session.scalars(select(func.count()).select_from(found)).one()
        for name, found in sorted(Base.metadata.tables.items())
        if name in there
    }

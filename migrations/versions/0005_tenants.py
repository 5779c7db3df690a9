"""Tenants with people, limits and an end; an audit log; settings at run time; indexes of what is listed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from backend.clock import UtcDateTime
from migrations.triggers import AUDIT, create_triggers, drop_triggers, refuse_replacing

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = {
    "tenant": ("retention_days", "shares_audio", "suspended_at", "suspended_reason", "erased_at"),
    "user_account": ("operator", "erased_at"),
}
TWICE = (
    "DELETE FROM idempotency WHERE EXISTS (SELECT 1 FROM idempotency AS other "
    "WHERE other.user_id = idempotency.user_id AND other.key = idempotency.key "
    "AND other.tenant_id < idempotency.tenant_id)"
)
"""Keys that somebody used in two tenants, which the former form did not know."""
LISTED_SQLITE = "deleted_at IS NULL AND sample IS 0"
LISTED_POSTGRESQL = "deleted_at IS NULL AND sample IS false"


def upgrade() -> None:
    # No table that others point at is rebuilt: what is added to them are plain columns.
    op.add_column("tenant", sa.Column("retention_days", sa.Integer(), nullable=True))
    op.add_column("tenant", sa.Column("shares_audio", sa.Boolean(), server_default="0", nullable=False))
    op.add_column("tenant", sa.Column("suspended_at", UtcDateTime(), nullable=True))
    op.add_column("tenant", sa.Column("suspended_reason", sa.String(length=500), nullable=True))
    op.add_column("tenant", sa.Column("erased_at", UtcDateTime(), nullable=True))
    op.add_column("user_account", sa.Column("operator", sa.Boolean(), server_default="0", nullable=False))
    op.add_column("user_account", sa.Column("erased_at", UtcDateTime(), nullable=True))
    with op.batch_alter_table("login_session") as table:
        table.add_column(sa.Column("impersonator_id", sa.Uuid(), nullable=True))
        table.create_foreign_key(op.f("fk_login_session_impersonator_id"), "user_account", ["impersonator_id"], ["id"])
    # A webhook for one task. No foreign key: rebuilding the table would take every delivery along.
    op.add_column("webhook", sa.Column("task_id", sa.Uuid(), nullable=True))
    op.create_index("uq_webhook_task", "webhook", ["tenant_id", "task_id"], unique=True)
    _keys_of(["tenant_id", "user_id", "key"])
    _tables()
    create_triggers(AUDIT)
    refuse_replacing(AUDIT)
    _indexes()


def downgrade() -> None:
    for name, table in (
        ("ix_webhook_delivery_log_status", "webhook_delivery"),
        ("ix_upload_list", "upload"),
        ("ix_task_repeats", "task"),
        ("ix_task_tenant_id_id", "task"),
        ("ix_task_history_status", "task"),
        ("ix_task_history", "task"),
        ("ix_api_key_list", "api_key"),
    ):
        op.drop_index(name, table_name=table)
    op.create_index("ix_task_history", "task", ["tenant_id", "user_id", "id"])
    op.create_index(op.f("ix_api_key_tenant_id_user_id_id"), "api_key", ["tenant_id", "user_id", "id"])
    drop_triggers(AUDIT)
    for name in ("runtime_setting", "audit_entry", "tenant_invitation", "tenant_limit"):
        op.drop_table(name)
    op.execute(TWICE)
    _keys_of(["user_id", "key"])
    # A task's own webhooks would else become the tenant's.
    op.execute("DELETE FROM webhook WHERE task_id IS NOT NULL")
    op.drop_index("uq_webhook_task", table_name="webhook")
    op.drop_column("webhook", "task_id")
    with op.batch_alter_table("login_session") as batch:
        batch.drop_constraint(op.f("fk_login_session_impersonator_id"), type_="foreignkey")
        batch.drop_column("impersonator_id")
    for name, columns in COLUMNS.items():
        for column in columns:
            op.drop_column(name, column)


def _keys_of(columns: list[str]) -> None:
    """Whose an Idempotency-Key is: somebody's in one tenant, or, before, in all of theirs."""
    op.drop_index(op.f("ix_idempotency_created_at"), table_name="idempotency")
    with op.batch_alter_table("idempotency") as table:
        table.drop_constraint(op.f("pk_idempotency"), type_="primary")
        table.create_primary_key(op.f("pk_idempotency"), columns)
    op.create_index(op.f("ix_idempotency_created_at"), "idempotency", ["created_at"])


def _tables() -> None:
    op.create_table(
        "tenant_limit",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("requests", sa.String(length=100), nullable=True),
        sa.Column("concurrent_tasks", sa.Integer(), nullable=True),
        sa.Column("monthly_seconds", sa.Double(), nullable=True),
        sa.Column("storage_bytes", sa.BigInteger(), nullable=True),
        sa.Column("retention_days", sa.Integer(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("concurrent_tasks > 0", name=op.f("ck_tenant_limit_concurrent_tasks")),
        sa.CheckConstraint("monthly_seconds >= 0", name=op.f("ck_tenant_limit_monthly_seconds")),
        sa.CheckConstraint("retention_days > 0", name=op.f("ck_tenant_limit_retention_days")),
        sa.CheckConstraint("storage_bytes >= 0", name=op.f("ck_tenant_limit_storage_bytes")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_tenant_limit_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant_limit")),
    )
    op.create_table(
        "tenant_invitation",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("invited_by", sa.Uuid(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("accepted_at", UtcDateTime(), nullable=True),
        sa.Column("accepted_by", sa.Uuid(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("role IN ('admin', 'member')", name=op.f("ck_tenant_invitation_role")),
        sa.ForeignKeyConstraint(["accepted_by"], ["user_account.id"], name=op.f("fk_tenant_invitation_accepted_by")),
        sa.ForeignKeyConstraint(["invited_by"], ["user_account.id"], name=op.f("fk_tenant_invitation_invited_by")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_tenant_invitation_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant_invitation")),
        sa.UniqueConstraint("sha256", name=op.f("uq_tenant_invitation_sha256")),
    )
    op.create_index(op.f("ix_tenant_invitation_tenant_id_id"), "tenant_invitation", ["tenant_id", "id"], unique=False)
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("actor_kind", sa.String(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("acting_as", sa.Uuid(), nullable=True),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=100), nullable=True),
        sa.Column("before", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("after", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "actor_kind IN ('user', 'operator', 'command', 'service')", name=op.f("ck_audit_entry_actor_kind")
        ),
        sa.ForeignKeyConstraint(["acting_as"], ["user_account.id"], name=op.f("fk_audit_entry_acting_as")),
        sa.ForeignKeyConstraint(["actor_id"], ["user_account.id"], name=op.f("fk_audit_entry_actor_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_audit_entry_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entry")),
    )
    op.create_index(op.f("ix_audit_entry_actor_id_id"), "audit_entry", ["actor_id", "id"], unique=False)
    op.create_index(op.f("ix_audit_entry_tenant_id_id"), "audit_entry", ["tenant_id", "id"], unique=False)
    op.create_table(
        "runtime_setting",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_runtime_setting")),
    )


def _indexes() -> None:
    """Only the rows that a listing shows, in its order; and the addresses that are to be forgotten."""
    _partial("ix_audit_entry_address", "audit_entry", ["created_at"], "address IS NOT NULL")
    op.drop_index(op.f("ix_api_key_tenant_id_user_id_id"), table_name="api_key")
    _partial("ix_api_key_list", "api_key", ["tenant_id", "user_id", "id"], "revoked_at IS NULL")
    op.drop_index("ix_task_history", table_name="task")
    _partial("ix_task_history", "task", ["tenant_id", "user_id", "id"], "deleted_at IS NULL")
    _partial("ix_task_history_status", "task", ["tenant_id", "user_id", "status", "id"], "deleted_at IS NULL")
    op.create_index(op.f("ix_task_tenant_id_id"), "task", ["tenant_id", "id"])
    _partial("ix_task_repeats", "task", ["tenant_id", "retry_of"], "retry_of IS NOT NULL")
    _partial("ix_upload_list", "upload", ["tenant_id", "user_id", "id"], LISTED_SQLITE, LISTED_POSTGRESQL)
    op.create_index("ix_webhook_delivery_log_status", "webhook_delivery", ["tenant_id", "webhook_id", "status", "id"])


def _partial(name: str, table: str, columns: list[str], where: str, on_postgresql: str | None = None) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(on_postgresql or where))

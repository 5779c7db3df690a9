"""Everything that the first release keeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from backend.clock import UtcDateTime
from migrations.triggers import create_triggers, drop_triggers

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tenant",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
    )
    op.create_table(
        "user_account",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_account")),
        sa.UniqueConstraint("email", name=op.f("uq_user_account_email")),
    )
    op.create_table(
        "worker",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=True),
        sa.Column("warm_model", sa.String(), nullable=True),
        sa.Column("warmup_seconds", sa.Double(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("stopped_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_worker")),
    )
    op.create_table(
        "account",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("(kind IN ('issued', 'earned')) = (user_id IS NULL)", name=op.f("ck_account_owner")),
        sa.CheckConstraint("balance >= 0 OR kind = 'issued'", name=op.f("ck_account_balance")),
        sa.CheckConstraint("kind IN ('available', 'held', 'issued', 'earned')", name=op.f("ck_account_kind")),
        sa.CheckConstraint("(user_id IS NULL) = (tenant_id IS NULL)", name=op.f("ck_account_tenant")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_account_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_account_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
    )
    op.create_index(
        "uq_account_system_kind",
        "account",
        ["kind"],
        unique=True,
        sqlite_where=sa.text("user_id IS NULL"),
        postgresql_where=sa.text("user_id IS NULL"),
    )
    op.create_index("uq_account_user_kind", "account", ["tenant_id", "user_id", "kind"], unique=True)

    op.create_table(
        "idempotency",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("request_sha256", sa.String(), nullable=False),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_idempotency_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_idempotency_user_id")),
        sa.PrimaryKeyConstraint("user_id", "key", name=op.f("pk_idempotency")),
    )
    op.create_index(op.f("ix_idempotency_created_at"), "idempotency", ["created_at"], unique=False)

    op.create_table(
        "membership",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("role IN ('owner', 'admin', 'member')", name=op.f("ck_membership_role")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_membership_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_membership_user_id")),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_membership")),
    )
    op.create_index(op.f("ix_membership_user_id"), "membership", ["user_id"], unique=False)

    op.create_table(
        "upload",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("storage_key", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("container", sa.String(), nullable=False),
        sa.Column("codec", sa.String(), nullable=False),
        sa.Column("rate", sa.Integer(), nullable=False),
        sa.Column("channels", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("declared_seconds", sa.Double(), nullable=True),
        sa.Column("sample", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("deleted_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("seconds > 0", name=op.f("ck_upload_seconds")),
        sa.CheckConstraint("size > 0", name=op.f("ck_upload_size")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_upload_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_upload_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_upload_tenant_id_id")),
    )
    op.create_index(
        op.f("ix_upload_tenant_id_user_id_filename"), "upload", ["tenant_id", "user_id", "filename"], unique=False
    )
    op.create_index(
        "uq_upload_sample",
        "upload",
        ["tenant_id", "user_id", "filename"],
        unique=True,
        sqlite_where=sa.text("sample AND deleted_at IS NULL"),
        postgresql_where=sa.text("sample AND deleted_at IS NULL"),
    )

    op.create_table(
        "task",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column("source_name", sa.String(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("stage", sa.String(), nullable=True),
        sa.Column("last_event", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("error_message", sa.String(), nullable=True),
        sa.Column("retry_of", sa.Uuid(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("claimed_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.Column("deleted_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("(status = 'processing') = (lease_until IS NOT NULL)", name=op.f("ck_task_lease")),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_task_finished"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'processing', 'completed', 'failed', 'cancelled')", name=op.f("ck_task_status")
        ),
        sa.CheckConstraint("price >= 0", name=op.f("ck_task_price")),
        sa.CheckConstraint("progress >= 0 AND progress <= 1", name=op.f("ck_task_progress")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "upload_id"], ["upload.tenant_id", "upload.id"], name=op.f("fk_task_tenant_id_upload_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_task_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_task_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_task_tenant_id_id")),
    )
    op.create_index("ix_task_history", "task", ["tenant_id", "user_id", "id"], unique=False)
    op.create_index("ix_task_queue", "task", ["status", "tenant_id", "id"], unique=False)
    op.create_index("ix_task_served", "task", ["tenant_id", "claimed_at"], unique=False)
    op.create_index(op.f("ix_task_tenant_id_upload_id"), "task", ["tenant_id", "upload_id"], unique=False)

    op.create_table(
        "event",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "task_id"], ["task.tenant_id", "task.id"], name=op.f("fk_event_tenant_id_task_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_event_tenant_id")),
        sa.PrimaryKeyConstraint("task_id", "seq", name=op.f("pk_event")),
    )
    op.create_table(
        "step",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("op", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("receipt", sa.JSON(none_as_null=True), nullable=True),
        sa.CheckConstraint("op IN ('separate')", name=op.f("ck_step_op")),
        sa.CheckConstraint("price >= 0", name=op.f("ck_step_price")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "task_id"], ["task.tenant_id", "task.id"], name=op.f("fk_step_tenant_id_task_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_step_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_step")),
        sa.UniqueConstraint("task_id", "position", name=op.f("uq_step_task_id_position")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_step_tenant_id_id")),
    )
    op.create_table(
        "ticket",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "task_id"], ["task.tenant_id", "task.id"], name=op.f("fk_ticket_tenant_id_task_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_ticket_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_ticket_user_id")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_ticket")),
    )
    op.create_index(op.f("ix_ticket_expires_at"), "ticket", ["expires_at"], unique=False)

    op.create_table(
        "transfer",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("debit_account_id", sa.Uuid(), nullable=False),
        sa.Column("credit_account_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("kind = 'grant' OR task_id IS NOT NULL", name=op.f("ck_transfer_task")),
        sa.CheckConstraint("kind IN ('grant', 'hold', 'capture', 'release')", name=op.f("ck_transfer_kind")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_transfer_amount")),
        sa.CheckConstraint("debit_account_id <> credit_account_id", name=op.f("ck_transfer_accounts")),
        sa.ForeignKeyConstraint(["credit_account_id"], ["account.id"], name=op.f("fk_transfer_credit_account_id")),
        sa.ForeignKeyConstraint(["debit_account_id"], ["account.id"], name=op.f("fk_transfer_debit_account_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "task_id"], ["task.tenant_id", "task.id"], name=op.f("fk_transfer_tenant_id_task_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_transfer_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_transfer_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfer")),
    )
    op.create_index(op.f("ix_transfer_credit_account_id"), "transfer", ["credit_account_id"], unique=False)
    op.create_index(op.f("ix_transfer_debit_account_id"), "transfer", ["debit_account_id"], unique=False)
    op.create_index(op.f("ix_transfer_tenant_id_user_id_id"), "transfer", ["tenant_id", "user_id", "id"], unique=False)
    op.create_index(
        "uq_transfer_hold",
        "transfer",
        ["task_id"],
        unique=True,
        sqlite_where=sa.text("kind = 'hold'"),
        postgresql_where=sa.text("kind = 'hold'"),
    )
    op.create_index(
        "uq_transfer_settlement",
        "transfer",
        ["task_id"],
        unique=True,
        sqlite_where=sa.text("kind IN ('capture', 'release')"),
        postgresql_where=sa.text("kind IN ('capture', 'release')"),
    )

    op.create_table(
        "artifact",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("step_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("storage_key", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("kind IN ('stem', 'receipt')", name=op.f("ck_artifact_kind")),
        sa.CheckConstraint("size > 0", name=op.f("ck_artifact_size")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "step_id"], ["step.tenant_id", "step.id"], name=op.f("fk_artifact_tenant_id_step_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "task_id"], ["task.tenant_id", "task.id"], name=op.f("fk_artifact_tenant_id_task_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_artifact_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact")),
        sa.UniqueConstraint("task_id", "name", name=op.f("uq_artifact_task_id_name")),
    )
    create_triggers()


def downgrade() -> None:
    drop_triggers()
    for table in (
        "artifact",
        "transfer",
        "ticket",
        "step",
        "event",
        "task",
        "upload",
        "membership",
        "idempotency",
        "account",
        "worker",
        "user_account",
        "tenant",
    ):
        op.drop_table(table)

"""Parts of long songs, and the trace that a task belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from backend.clock import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_WANTED = sa.text("status <> 'completed'")


def upgrade() -> None:
    op.add_column("task", sa.Column("traceparent", sa.String(), nullable=True))
    op.create_table(
        "part",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("step_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("first_patch", sa.Integer(), nullable=False),
        sa.Column("patches", sa.Integer(), nullable=True),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("patches_done", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("status IN ('queued', 'processing', 'completed')", name=op.f("ck_part_status")),
        sa.CheckConstraint("(status = 'processing') = (lease_until IS NOT NULL)", name=op.f("ck_part_lease")),
        sa.CheckConstraint("first_patch >= 0 AND (patches IS NULL OR patches > 0)", name=op.f("ck_part_range")),
        sa.CheckConstraint("patches_done >= 0", name=op.f("ck_part_done")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "task_id"], ["task.tenant_id", "task.id"], name=op.f("fk_part_tenant_id_task_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "step_id"], ["step.tenant_id", "step.id"], name=op.f("fk_part_tenant_id_step_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_part_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_part")),
        sa.UniqueConstraint("step_id", "position", name=op.f("uq_part_step_id_position")),
    )
    op.create_index("ix_part_tenant_id_task_id", "part", ["tenant_id", "task_id"])
    op.create_index("ix_part_wanted", "part", ["status"], sqlite_where=_WANTED, postgresql_where=_WANTED)


def downgrade() -> None:
    op.drop_table("part")
    op.drop_column("task", "traceparent")

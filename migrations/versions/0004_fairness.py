"""Plans of tenants, how fast models are, and an index that tells how long the queue is without reading it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

QUEUE = ["status", "tenant_id", "id"]


def upgrade() -> None:
    # Plain ADD COLUMN and indexes on both databases: no table is rebuilt, no trigger is lost.
    op.add_column("tenant", sa.Column("plan", sa.String(), server_default="standard", nullable=False))
    op.create_table(
        "pace",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("audio_seconds", sa.Double(), nullable=False),
        sa.Column("work_seconds", sa.Double(), nullable=False),
        sa.CheckConstraint("audio_seconds >= 0 AND work_seconds > 0", name=op.f("ck_pace_seconds")),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_pace")),
    )
    op.drop_index("ix_task_queue", table_name="task")
    op.create_index("ix_task_queue", "task", [*QUEUE, "seconds"])


def downgrade() -> None:
    op.drop_index("ix_task_queue", table_name="task")
    op.create_index("ix_task_queue", "task", QUEUE)
    op.drop_table("pace")
    op.drop_column("tenant", "plan")

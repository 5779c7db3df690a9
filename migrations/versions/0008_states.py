"""The task's states, guarded by the database itself; events are only ever added to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.state_triggers import create_state_triggers, drop_state_triggers
from migrations.triggers import EVENT, create_triggers, drop_triggers, refuse_replacing

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TRANSITIONS = (
    ("queued", "processing"),
    ("queued", "cancelled"),
    ("processing", "completed"),
    ("processing", "failed"),
    ("processing", "cancelled"),
    ("processing", "queued"),
)
_LITTERED = sa.text("finished_at IS NOT NULL AND attempt > 0")


def upgrade() -> None:
    create_state_triggers(TRANSITIONS)
    create_triggers(EVENT)
    refuse_replacing(EVENT)
    op.create_table(
        "tally",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("at_most", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", "model", "at_most", name=op.f("pk_tally")),
    )
    op.create_index("ix_task_littered", "task", ["finished_at"], sqlite_where=_LITTERED, postgresql_where=_LITTERED)


def downgrade() -> None:
    op.drop_table("tally")
    op.drop_index("ix_task_littered", table_name="task")
    drop_triggers(EVENT)
    drop_state_triggers()

"""Songs by what they hold, and by their file: several may share one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_KEPT_SQLITE = sa.text("deleted_at IS NULL AND sample IS 0")
_KEPT_POSTGRESQL = sa.text("deleted_at IS NULL AND sample IS false")


def upgrade() -> None:
    for name, columns in (
        ("ix_upload_content", ["tenant_id", "sha256", "size"]),
        ("ix_upload_file", ["storage_key"]),
    ):
        op.create_index(name, "upload", columns, sqlite_where=_KEPT_SQLITE, postgresql_where=_KEPT_POSTGRESQL)


def downgrade() -> None:
    op.drop_index("ix_upload_file", "upload")
    op.drop_index("ix_upload_content", "upload")

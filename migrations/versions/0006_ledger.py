"""Credits that are bought, given on, given back, and that expire."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

from backend.clock import UtcDateTime
from migrations.triggers import create_triggers, drop_triggers, refuse_replacing

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

FORMER_CHECKS = {
    "ck_transfer_kind": "kind IN ('grant', 'hold', 'capture', 'release')",
    "ck_transfer_task": "kind = 'grant' OR task_id IS NOT NULL",
}
CHECKS = {
    "ck_transfer_kind": "kind IN ('grant', 'purchase', 'hold', 'capture', 'release', 'refund', 'transfer', 'expiry', "
    "'chargeback')",
    "ck_transfer_task": "(kind IN ('hold', 'capture', 'release', 'refund')) = (task_id IS NOT NULL)",
    "ck_transfer_purchase": "(kind IN ('purchase', 'chargeback')) = (purchase_id IS NOT NULL)",
    "ck_transfer_to_user": "(kind = 'transfer') = (to_user_id IS NOT NULL)",
}


def upgrade() -> None:
    _purchases()
    drop_triggers()
    _change_transfer(FORMER_CHECKS, CHECKS, wider=True)
    create_triggers()
    refuse_replacing()
    _lots()


def downgrade() -> None:
    """Refused by the checks where the ledger has entries of kinds that the former form did not know."""
    for name in ("credit_lot_use", "credit_lot"):
        op.drop_table(name)
    drop_triggers()
    _change_transfer(CHECKS, FORMER_CHECKS, wider=False)
    create_triggers()
    for name in ("payment_event", "purchase"):
        op.drop_table(name)


def _purchases() -> None:
    op.create_table(
        "purchase",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("pack", sa.String(length=100), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("returned", sa.BigInteger(), nullable=False),
        sa.Column("shortfall", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("status IN ('open', 'paid', 'refunded', 'failed')", name=op.f("ck_purchase_status")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_purchase_amount")),
        sa.CheckConstraint("price_minor >= 0", name=op.f("ck_purchase_price_minor")),
        sa.CheckConstraint(
            "refunded_minor >= 0 AND refunded_minor <= price_minor", name=op.f("ck_purchase_refunded_minor")
        ),
        sa.CheckConstraint("returned >= 0 AND returned <= amount", name=op.f("ck_purchase_returned")),
        sa.CheckConstraint("shortfall >= 0 AND shortfall <= amount", name=op.f("ck_purchase_shortfall")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_purchase_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_purchase_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purchase")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_purchase_tenant_id_id")),
    )
    op.create_index(op.f("ix_purchase_tenant_id_user_id_id"), "purchase", ["tenant_id", "user_id", "id"], unique=False)
    op.create_index(
        "ix_purchase_owing",
        "purchase",
        ["tenant_id", "id"],
        unique=False,
        sqlite_where=sa.text("shortfall > 0"),
        postgresql_where=sa.text("shortfall > 0"),
    )
    op.create_table(
        "payment_event",
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("event_id", sa.String(length=200), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "event_id", name=op.f("pk_payment_event")),
    )
    op.create_index(op.f("ix_payment_event_created_at"), "payment_event", ["created_at"], unique=False)


def _lots() -> None:
    op.create_table(
        "credit_lot",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("remaining >= 0", name=op.f("ck_credit_lot_remaining")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_credit_lot_tenant_id")),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfer.id"], name=op.f("fk_credit_lot_transfer_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user_account.id"], name=op.f("fk_credit_lot_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_lot")),
    )
    op.create_index(
        "ix_credit_lot_due",
        "credit_lot",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("remaining > 0"),
        postgresql_where=sa.text("remaining > 0"),
    )
    op.create_index(
        "ix_credit_lot_left",
        "credit_lot",
        ["tenant_id", "user_id", "expires_at"],
        unique=False,
        sqlite_where=sa.text("remaining > 0"),
        postgresql_where=sa.text("remaining > 0"),
    )
    op.create_table(
        "credit_lot_use",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("lot_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_credit_lot_use_amount")),
        sa.ForeignKeyConstraint(["lot_id"], ["credit_lot.id"], name=op.f("fk_credit_lot_use_lot_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "task_id"], ["task.tenant_id", "task.id"], name=op.f("fk_credit_lot_use_tenant_id_task_id")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_credit_lot_use_tenant_id")),
        sa.PrimaryKeyConstraint("task_id", "lot_id", name=op.f("pk_credit_lot_use")),
    )


def _change_transfer(former: dict[str, str], checks: dict[str, str], *, wider: bool) -> None:
    """Its kinds, and whom and what they name. SQLite builds the table anew."""
    _transfer_indexes(op.drop_index, new=not wider)
    with op.batch_alter_table("transfer") as table:
        for name in former:
            table.drop_constraint(op.f(name), type_="check")
        if wider:
            table.add_column(sa.Column("purchase_id", sa.Uuid(), nullable=True))
            table.add_column(sa.Column("to_user_id", sa.Uuid(), nullable=True))
            table.create_foreign_key(
                op.f("fk_transfer_tenant_id_purchase_id"), "purchase", ["tenant_id", "purchase_id"], ["tenant_id", "id"]
            )
            table.create_foreign_key(op.f("fk_transfer_to_user_id"), "user_account", ["to_user_id"], ["id"])
        else:
            for name in ("fk_transfer_tenant_id_purchase_id", "fk_transfer_to_user_id"):
                table.drop_constraint(op.f(name), type_="foreignkey")
            for column in ("purchase_id", "to_user_id"):
                table.drop_column(column)
        for name, check in checks.items():
            table.create_check_constraint(op.f(name), check)
    _transfer_indexes(op.create_index, new=wider)


def _transfer_indexes(act: Callable[..., object], *, new: bool) -> None:
    """Create or drop them: the partial ones would not survive the copy."""
    drops = act is op.drop_index

    def index(name: str, columns: list[str], where: str | None = None, *, unique: bool = False) -> None:
        if drops:
            act(name, table_name="transfer")
        elif where is None:
            act(name, "transfer", columns)
        else:
            act(name, "transfer", columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))

    index("ix_transfer_debit_account_id", ["debit_account_id"])
    index("ix_transfer_credit_account_id", ["credit_account_id"])
    index("ix_transfer_tenant_id_user_id_id", ["tenant_id", "user_id", "id"])
    index("uq_transfer_hold", ["task_id"], "kind = 'hold'", unique=True)
    index("uq_transfer_settlement", ["task_id"], "kind IN ('capture', 'release')", unique=True)
    if new:
        index("uq_transfer_refund", ["task_id"], "kind = 'refund'", unique=True)
        index("uq_transfer_purchase", ["purchase_id"], "kind = 'purchase'", unique=True)
        index("ix_transfer_received", ["tenant_id", "to_user_id", "id"], "to_user_id IS NOT NULL")

"""What every table shares: naming of constraints, column types, checks on words."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, MetaData
from sqlalchemy.orm import DeclarativeBase, mapped_column

from backend.clock import UtcDateTime, database_now
from backend.identity import new_id

Id = Annotated[UUID, mapped_column(primary_key=True, default=new_id)]
TenantId = Annotated[UUID, mapped_column(ForeignKey("tenant.id"), index=False)]
Created = Annotated[datetime, mapped_column(UtcDateTime(), default=database_now())]
Millicredits = Annotated[int, mapped_column(BigInteger)]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcDateTime(), dict[str, Any]: JSON()}


def one_of(column: str, words: Iterable[str]) -> CheckConstraint:
    """CHECK that a column holds one of these words."""
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=column)

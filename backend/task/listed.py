"""Rows of the tasks' tables with the columns that answers show, and no more."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from backend.models.task import TaskStatus


class Listed(NamedTuple):
    """What lists show of a task; to make objects of whole rows would cost most of the time that a list takes."""

    id: UUID
    user_id: UUID
    status: TaskStatus
    source_name: str
    seconds: float
    price: int
    created_at: datetime
    finished_at: datetime | None
    error_code: str | None
    model: str
    source_key: str


class Made(NamedTuple):
    """What is shown of an artifact."""

    task_id: UUID
    kind: str
    name: str
    storage_key: str
    media_type: str
    size: int
    sha256: str


class ListedRecord(NamedTuple):
    """A task with all that lists show."""

    task: Listed
    artifacts: list[Made]

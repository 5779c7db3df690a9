"""Rows as the API shows them."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from backend.auth import link
from backend.credit import service as credit
from backend.models import Artifact
from backend.task import service
from backend.task.schemas import HistoryRow, OptionsView, Stem, TaskView
from backend.task.service import TaskRecord
from backend.wiring import Wiring

PREFIX = "/api/v1"


def task_view(wiring: Wiring, session: Session, record: TaskRecord) -> TaskView:
    task = record.task
    position, eta = service.waiting(wiring, session, record)
    stems = _stems(wiring, record)
    owner = owner_of(task.tenant_id, task.user_id)
    archive = link.sign(wiring.settings.auth, f"{PREFIX}/tasks/{task.id}/archive", owner) if stems else None
    return TaskView(
        task_id=task.id,
        status=task.status,
        progress=round(task.progress, 4),
        stage=task.stage,
        queue_position=position,
        eta=None if eta is None else round(eta, 1),
        attempt=task.attempt,
        error_code=task.error_code,
        error_message=task.error_message,
        credits=credit.shown(task.price),
        model=record.step.model,
        filename=task.source_name,
        upload_id=task.upload_id,
        duration=task.seconds,
        options=OptionsView(**service.options(wiring, record.step).to_row()),
        retry_of=task.retry_of,
        created_at=task.created_at,
        finished_at=task.finished_at,
        receipt=record.step.receipt,
        stems=stems,
        archive_url=archive,
    )


def history_row(wiring: Wiring, record: TaskRecord) -> HistoryRow:
    task = record.task
    stems = _stems(wiring, record)
    paths = {stem.name: stem.path for stem in stems}
    return HistoryRow(
        task_id=task.id,
        status=task.status,
        original_file_path=wiring.storage.shown(record.source_key),
        vocal_path=paths.get("vocals"),
        music_path=paths.get("accompaniment"),
        filename=task.source_name,
        model=record.step.model,
        duration=task.seconds,
        credits=credit.shown(task.price),
        created_at=task.created_at,
        finished_at=task.finished_at,
        error_code=task.error_code,
        stems=stems,
    )


def owner_of(tenant_id: UUID, user_id: UUID) -> str:
    return f"{tenant_id}.{user_id}"


def _stems(wiring: Wiring, record: TaskRecord) -> list[Stem]:
    return [_stem(wiring, record, artifact) for artifact in record.artifacts if artifact.kind == "stem"]


def _stem(wiring: Wiring, record: TaskRecord, artifact: Artifact) -> Stem:
    path = f"{PREFIX}/tasks/{record.task.id}/stems/{artifact.name}"
    return Stem(
        name=artifact.name,
        path=wiring.storage.shown(artifact.storage_key),
        media_type=artifact.media_type,
        size=artifact.size,
        sha256=artifact.sha256,
        url=link.sign(wiring.settings.auth, path, owner_of(record.task.tenant_id, record.task.user_id)),
    )

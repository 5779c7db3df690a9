"""Rows as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from backend.auth.link import Signer
from backend.credit import service as credit
from backend.task import service
from backend.task.listed import ListedRecord, Made
from backend.task.schemas import HistoryRow, OptionsView, Stem, TaskView
from backend.task.service import TaskRecord
from backend.way_in import WayIn
from backend.wiring import Wiring

PREFIX = "/api/v1"


def task_view(wiring: Wiring, session: Session, record: TaskRecord, way_in: WayIn) -> TaskView:
    """`way_in`: of who looks; its links are good as long as it is."""
    task = record.task
    position, eta = service.waiting(wiring, session, record)
    links = Signer(wiring.settings.auth, way_in)
    stems = _stems(wiring, task.id, record.artifacts, links)
    archive = links.sign(f"{PREFIX}/tasks/{task.id}/archive") if stems else None
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


def history_rows(wiring: Wiring, records: Sequence[ListedRecord], way_in: WayIn) -> list[HistoryRow]:
    links = Signer(wiring.settings.auth, way_in)
    return [_history_row(wiring, record, links) for record in records]


def _history_row(wiring: Wiring, record: ListedRecord, links: Signer) -> HistoryRow:
    task = record.task
    stems = _stems(wiring, task.id, record.artifacts, links)
    paths = {stem.name: stem.path for stem in stems}
    return HistoryRow(
        task_id=task.id,
        status=task.status,
        original_file_path=wiring.storage.shown(task.source_key),
        vocal_path=paths.get("vocals"),
        music_path=paths.get("accompaniment"),
        filename=task.source_name,
        model=task.model,
        duration=task.seconds,
        credits=credit.shown(task.price),
        created_at=task.created_at,
        finished_at=task.finished_at,
        error_code=task.error_code,
        stems=stems,
    )


def _stems(wiring: Wiring, task_id: UUID, artifacts: Sequence[Made], links: Signer) -> list[Stem]:
    return [_stem(wiring, task_id, artifact, links) for artifact in artifacts if artifact.kind == "stem"]


def _stem(wiring: Wiring, task_id: UUID, artifact: Made, links: Signer) -> Stem:
    path = f"{PREFIX}/tasks/{task_id}/stems/{artifact.name}"
    return Stem(
        name=artifact.name,
        path=wiring.storage.shown(artifact.storage_key),
        media_type=artifact.media_type,
        size=artifact.size,
        sha256=artifact.sha256,
        url=links.sign(path),
    )

from __future__ import annotations

from fastapi import APIRouter

from backend.auth.caller import ReadingCaller
from backend.catalog.schemas import Model
from backend.errors import describes
from backend.sessions import Reading, WiringOf
from backend.worker import service as workers

router = APIRouter(tags=["models"], responses=describes(401, 403))


@router.get("/models")
def models(caller: ReadingCaller, session: Reading, wiring: WiringOf) -> list[Model]:
    """Every model, what it gives, its licence, and whether it is ready."""
    shelf = wiring.models
    default = shelf.choose(None).id
    device = workers.device(session)
    return [
        Model(
            id=spec.id,
            title=spec.title,
            stems=list(spec.stems),
            rate=spec.rate,
            licence=spec.licence,
            licence_note=spec.licence_note,
            ready=(ready := shelf.ready(spec)),
            default=spec.id == default,
            device=device,
            how_to_get=None if ready else f"vocal-remover models pull {spec.id}",
        )
        for spec in shelf.catalog.values()
    ]

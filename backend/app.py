"""The API: its routes, its errors, its limits. Importing it loads no inference runtime."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from backend import docs_page, errors, health
from backend.auth import endpoints as auth
from backend.auth import password_endpoints as password
from backend.body_limit import BodyLimit
from backend.catalog import endpoints as catalog
from backend.credit import endpoints as credit
from backend.errors import describes
from backend.key import endpoints as key
from backend.lifespan import lifespan
from backend.rate_limit import RateLimits
from backend.request_id import RequestId
from backend.settings import Settings
from backend.task import endpoints as task
from backend.task import result_endpoints as result
from backend.task.turns import Turns
from backend.upload import endpoints as upload
from backend.user import endpoints as user
from backend.webhook import endpoints as webhook
from backend.wiring import wire

DESCRIPTION = """\
Send a song, get its stems.

1. **Authorize** (the button on the right) with your e-mail address and password.
2. `POST /api/v1/uploads` sends a song; or name one of the sample library, `example.mp3`.
3. `POST /api/v1/separate` orders its stems and answers with a `task_id`.
4. `GET /api/v1/status/{task_id}` tells how far it is and, at the end, links to the stems.

Errors are RFC 9457 problem bodies with a stable `code` and an `advice`.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    wiring = wire(settings or Settings())
    app = FastAPI(
        title="Vocal Remover",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.wiring = wiring
    app.state.turns = Turns()
    limits = RateLimits(wiring.settings)
    errors.install(app)
    docs_page.install(app)
    app.add_middleware(BodyLimit)
    limits.install(app)
    app.add_middleware(RequestId)

    api = APIRouter(prefix="/api/v1", responses=describes(429))
    for router in (
        auth.routes(limits),
        password.routes(limits),
        key.router,
        user.router,
        upload.router,
        task.routes(limits),
        result.router,
        catalog.router,
        credit.router,
        webhook.router,
    ):
        api.include_router(router)
    app.include_router(api)
    app.include_router(health.router)
    return app


app = create_app()

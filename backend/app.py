"""The API: its routes, its errors, its limits. Importing it loads no inference runtime."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from backend import docs_page, errors, health, openapi_document
from backend.admin import endpoints as admin
from backend.audit import endpoints as audit
from backend.auth import endpoints as auth
from backend.auth import password_endpoints as password
from backend.body_limit import BodyLimit
from backend.catalog import endpoints as catalog
from backend.credit import endpoints as credit
from backend.erase import endpoints as erase
from backend.errors import describes
from backend.key import endpoints as key
from backend.last_resort import LastResort
from backend.lifespan import lifespan
from backend.member import endpoints as member
from backend.metric import endpoints as metric
from backend.metric.http import HttpFigures
from backend.metric.service import Metrics
from backend.metric.watchdog import Watchdog
from backend.momentary import Momentary
from backend.observed import Observed
from backend.payment import endpoints as payment
from backend.rate_limit import RateLimits
from backend.request_id import RequestId
from backend.sessions import answer_in_threads
from backend.settings import Settings
from backend.task import endpoints as task
from backend.task import result_endpoints as result
from backend.task.turns import Turns
from backend.upload import endpoints as upload
from backend.upload.admission import Admission, StorageTurns
from backend.usage import endpoints as usage
from backend.user import endpoints as user
from backend.web_headers import install as install_web_headers
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

NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI's own would hold addresses with their signatures, and texts of exceptions; ours is `backend.observed`."""


def create_app(settings: Settings | None = None) -> FastAPI:
    wiring = wire(settings or Settings())
    app = FastAPI(
        title="Vocal Remover",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/openapi.json" if wiring.settings.web.docs else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would send people to whatever host their request names
        telemetry=NO_TELEMETRY,
    )
    app.state.wiring = wiring
    app.state.turns = Turns()
    app.state.admission = Admission(wiring.settings.upload.at_once)
    app.state.linking, app.state.fetching = StorageTurns(), StorageTurns()
    app.state.logins = Momentary()
    limits = RateLimits(wiring)
    errors.install(app)
    if wiring.settings.web.docs:
        docs_page.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(LastResort)
    limits.install(app)
    install_web_headers(app, wiring.settings)
    figures = HttpFigures()
    settings = wiring.settings
    app.add_middleware(Observed, figures=figures, tracing=wiring.tracing, logs_requests=settings.logs_requests)
    app.add_middleware(RequestId)

    # Those that are asked most stand first: FastAPI tries one after the other, and again for each router in a router.
    for router in (
        user.router,
        task.routes(limits),
        result.router,
        upload.router,
        upload.links,
        credit.routes(limits),
        auth.routes(limits),
        password.routes(limits),
        key.router,
        catalog.router,
        payment.purchases,
        payment.payments,
        member.router,
        usage.router,
        webhook.router,
        erase.routes(limits),
        audit.router,
        admin.router,
    ):
        app.include_router(answer_in_threads(router), prefix="/api/v1", responses=describes(429))
    app.include_router(answer_in_threads(health.router))
    probes = app.state.probes = health.Probes(wiring)
    watchdog = app.state.watchdog = Watchdog(wiring, probes.broker)
    if wiring.settings.web.metrics:
        app.state.metrics = Metrics(wiring, figures, watchdog, (probes.database, probes.broker, probes.storage))
        app.include_router(answer_in_threads(metric.router))
    openapi_document.install(app)
    return app


app = create_app()

"""The doorbell: a Celery message that says "there is work", never which.

What to do is in the database. A lost ring is harmless: an idle worker looks for queued rows by itself
(`workers.sweep`), so the broker may be flushed or stopped at any time.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from backend.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

SEPARATE = "separate"
"""Name of the queue, and of the Celery task that empties it."""

SILENT_SECONDS = 5.0


class Bell:
    """Rings workers. Never raises, and does not wait for a broker that is away."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: Celery | None = None
        self._silent_until = 0.0

    def prepare(self) -> None:
        """Load Celery ahead of the first ring: it takes a third of a second."""
        if self._app is None:
            self._app = celery_app(self._settings)

    def ring(self) -> None:
        if time.monotonic() < self._silent_until:
            return
        try:
            self.prepare()
            assert self._app is not None
            self._app.send_task(SEPARATE, queue=SEPARATE, ignore_result=True, retry=False)
        except Exception as error:  # kombu raises each transport's own kinds
            self._silent_until = time.monotonic() + SILENT_SECONDS
            log.warning("the broker can't be reached, workers will look by themselves: %s", error)


def celery_app(settings: Settings) -> Celery:
    """Celery with our settings, without tasks: the API sends with it, `workers.app` adds the tasks."""
    from celery import Celery  # `import backend.app` does not pay for it

    app = Celery("vocal_remover", broker=_broker_url(settings), set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=False,  # losing messages is allowed, losing rows is not
        worker_prefetch_multiplier=1,
        task_default_queue=SEPARATE,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_transport_options=_transport_options(settings),
        worker_proc_alive_timeout=300,  # a prefork child warms its model up before it reports for work
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=True,
        control_exchange="vocal_remover.pidbox",
        enable_utc=True,
    )
    return app


def _broker_url(settings: Settings) -> str:
    return settings.queue.url or "filesystem://localhost/"


def _transport_options(settings: Settings) -> dict[str, Any]:
    if not settings.queue.url:
        folder = settings.data_dir / "queue"
        for name in ("messages", "control"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        return {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
            "polling_interval": settings.queue.polling_seconds,
        }
    if settings.queue.url.startswith("redis"):
        return {"socket_connect_timeout": 2, "socket_timeout": 10, "retry_on_timeout": False}
    return {}

"""The doorbell: a Celery message that says "there is work", never which.

What to do is in the database. A lost ring is harmless: an idle worker looks for queued rows by itself
(`workers.sweep`), so the broker may be flushed or stopped at any time.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from backend.settings import Settings

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Producer, Queue

log = logging.getLogger(__name__)

SEPARATE = "separate"
"""The Celery task that empties the queue."""

SILENT_SECONDS = 5.0
CONFIRM_SECONDS = 2.0
MOST_WAITING = 100
"""Rings that nobody has heard yet: while there are that many, every worker is busy, and one more tells nothing."""
LONGEST_WAIT_SECONDS = 60
"""RabbitMQ drops older rings, by its own clock. Not Celery's `expires`: it compares the clocks of two hosts."""


class Bell:
    """Rings workers, from a thread of its own: nobody waits for a broker that is away or hangs. Never raises."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app: Celery | None = None
        self._silent_until = 0.0
        self._lock = threading.Lock()
        self._due = 0
        self._ringing = False

    def prepare(self) -> None:
        """Load Celery ahead of the first ring: it takes a third of a second."""
        if self._app is None:
            self._app = celery_app(self._settings)

    def ring(self) -> None:
        with self._lock:
            if time.monotonic() < self._silent_until:
                return
            self._due = min(self._due + 1, MOST_WAITING)
            if not self._ringing:
                try:
                    threading.Thread(target=self._ring_all, name="bell", daemon=True).start()
                except RuntimeError as error:  # the system has no thread left
                    log.warning("can't ring, workers will look by themselves: %s", error)
                else:
                    self._ringing = True

    def _ring_all(self) -> None:
        while self._next():
            try:
                self.prepare()
                assert self._app is not None
                with self._app.producer_pool.acquire(block=True, timeout=CONFIRM_SECONDS) as producer:
                    self._send(producer)
            except Exception as error:  # kombu raises each transport's own kinds
                with self._lock:
                    self._due = 0
                    self._silent_until = time.monotonic() + SILENT_SECONDS
                log.warning("the broker can't be reached, workers will look by themselves: %s", error)

    def _next(self) -> bool:
        """Whether there is one more to ring; if not, the thread ends."""
        with self._lock:
            self._ringing = self._due > 0
            self._due -= self._ringing
            return self._ringing

    def check(self) -> None:
        """Raises what the broker's client raises where the broker can't be reached."""
        self.prepare()
        assert self._app is not None
        with self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
            connection.default_channel  # noqa: B018  # Redis is asked only now

    def _send(self, producer: Producer) -> None:
        assert self._app is not None
        name = self._settings.queue.name
        size = getattr(producer.channel, "_size", None)  # RabbitMQ bounds the queue itself
        if size is not None and size(name) >= MOST_WAITING:
            return
        self._app.send_task(
            SEPARATE,
            queue=name,
            producer=producer,
            ignore_result=True,
            retry=True,  # once: the connection may be dead since the broker was restarted
            retry_policy={"max_retries": 1, "interval_start": 0},
            timeout=CONFIRM_SECONDS,
            confirm_timeout=CONFIRM_SECONDS,
        )


def celery_app(settings: Settings) -> Celery:
    """Celery with our settings, without tasks: the API sends with it, `workers.app` adds the tasks."""
    from celery import Celery  # `import backend.app` does not pay for it
    from kombu.transport import TRANSPORT_ALIASES

    TRANSPORT_ALIASES["filesystem"] = "backend.folder_broker:Transport"
    app = Celery("vocal_remover", broker=_broker_url(settings), set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=False,  # losing messages is allowed, losing rows is not
        task_queues=[_queue(settings)],
        task_default_queue=settings.queue.name,
        task_create_missing_queues=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_channel_error_retry=True,  # a queue that somebody deleted is declared again
        broker_heartbeat=30,
        broker_transport_options=_transport_options(settings),
        worker_prefetch_multiplier=1,
        # A lost connection changes nothing for what runs: it was acknowledged before it began.
        worker_enable_prefetch_count_reduction=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_proc_alive_timeout=300,  # a prefork child warms its model up before it reports for work
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,  # a queue for each worker, by which anybody at the broker could end it
        enable_utc=True,
    )
    return app


def _broker_url(settings: Settings) -> str:
    return settings.queue.url or "filesystem://localhost/"


def _queue(settings: Settings) -> Queue:
    from kombu import Exchange, Queue

    name = settings.queue.name
    arguments = {
        "x-queue-type": "quorum",
        "x-message-ttl": LONGEST_WAIT_SECONDS * 1000,
        "x-max-length": MOST_WAITING,
        "x-overflow": "drop-head",
    }
    return Queue(name, Exchange(name), routing_key=name, queue_arguments=arguments if _is_amqp(settings) else None)


def _is_amqp(settings: Settings) -> bool:
    return settings.queue.url.startswith(("amqp", "pyamqp"))


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
    if _is_amqp(settings):
        return {"confirm_publish": True}
    if settings.queue.url.startswith("redis"):
        return {"socket_connect_timeout": 2, "socket_timeout": 10, "retry_on_timeout": False}
    return {}

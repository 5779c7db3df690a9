"""Webhooks as their owner sees them, and workers that deliver them from this very process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from standardwebhooks.webhooks import Webhook as Verifier

from backend.settings.webhook import Webhook as WebhookSettings
from tests.processes import wait_until
from tests.receiver import Got
from tests.service import InProcess, Person
from workers.deliver import Deliverer

QUICK = {"insecure": True, "allowed_networks": "127.0.0.0/8", "poll_seconds": 0.02, "retry_seconds": [0, 0, 0]}


@contextmanager
def delivering(service: InProcess, workers: int = 1, **changes: Any) -> Iterator[None]:
    settings = WebhookSettings.model_validate(service.settings.webhook.model_dump() | changes)
    deliverers = [Deliverer(service.wiring.database, settings) for _ in range(workers)]
    for deliverer in deliverers:
        deliverer.start()
    try:
        yield
    finally:
        for deliverer in deliverers:
            deliverer.stop()


class Hook:
    """A webhook of a person's, as that person sees it."""

    def __init__(self, person: Person, url: str, **more: Any) -> None:
        self.person = person
        made = person.post("/webhooks", {"url": url, **more}).json()
        self.id, self.secret = made["id"], made["secret"]
        self.path = f"/webhooks/{self.id}"

    def view(self) -> dict[str, Any]:
        return dict(self.person.get(self.path).json())

    def change(self, **changes: Any) -> None:
        path = f"/api/v1{self.path}"
        assert self.person.client.patch(path, json=changes, headers=self.person.headers).status_code == 200

    def test(self) -> str:
        return str(self.person.post(f"{self.path}/test").json()["id"])

    def replay(self, delivery: str) -> None:
        assert self.person.post(f"{self.path}/deliveries/{delivery}/replay").status_code == 202

    def record(self, delivery: str) -> dict[str, Any]:
        return dict(self.person.get(f"{self.path}/deliveries/{delivery}").json())

    def ended(self, delivery: str, status: str) -> dict[str, Any]:
        wait_until(lambda: self.record(delivery)["status"] == status)
        return self.record(delivery)


def read(got: Got, *secrets: str) -> dict[str, Any]:
    """The message, if every one of these secrets verifies it."""
    for secret in secrets:
        message = Verifier(secret).verify(got.body, dict(got.headers.items()))
    return dict(message)

"""What a process of ours holds: the API and the workers build the same parts from the same settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backend.catalog.service import ModelShelf
from backend.db import Database
from backend.mail import Mailer
from backend.momentary import Momentary
from backend.queue import Bell
from backend.running import Running
from backend.settings import Settings
from backend.storage import Storage, open_storage
from backend.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Wiring:
    running: Running
    database: Database
    storage: Storage
    bell: Bell
    models: ModelShelf
    mail: Mailer
    tracing: Tracing
    moments: Momentary[Any]
    """What services were told a moment ago, by a name that each gives."""

    @property
    def settings(self) -> Settings:
        """Those in force now: ask again rather than keep them."""
        return self.running.now


def wire(settings: Settings) -> Wiring:
    database = Database(settings)
    return Wiring(
        running=Running(settings, database),
        database=database,
        storage=open_storage(settings),
        bell=Bell(settings),
        models=ModelShelf(settings),
        mail=Mailer(settings),
        tracing=Tracing(settings.observe),
        moments=Momentary(),
    )

"""What a process of ours holds: the API and the workers build the same parts from the same settings."""

from __future__ import annotations

from dataclasses import dataclass

from backend.catalog.service import ModelShelf
from backend.db import Database
from backend.mail import Mailer
from backend.queue import Bell
from backend.settings import Settings
from backend.storage import LocalStorage


@dataclass(frozen=True, slots=True)
class Wiring:
    settings: Settings
    database: Database
    storage: LocalStorage
    bell: Bell
    models: ModelShelf
    mail: Mailer


def wire(settings: Settings) -> Wiring:
    return Wiring(
        settings=settings,
        database=Database(settings),
        storage=LocalStorage(settings.data_dir, settings.sample_dir),
        bell=Bell(settings),
        models=ModelShelf(settings),
        mail=Mailer(settings),
    )

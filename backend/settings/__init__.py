"""Every setting of the service, from the environment (`VR_DB__URL`, `VR_ENGINE__THREADS`, …) or `.env`.

The defaults are the embedded mode: one machine, SQLite, no server to start. `docs/configuration.md` is
generated from these files.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, computed_field
from pydantic_settings import BaseSettings, SettingsConfigDict

from backend.settings.account import DEVELOPMENT_SECRET, SHORTEST_SECRET, Auth, Mail
from backend.settings.machine import ROOT, Database, Engine, Queue, Server, Worker
from backend.settings.usage import Credit, Limit, Upload
from backend.settings.webhook import Webhook

__all__ = ["ROOT", "Auth", "Credit", "Settings", "UnsafeSettings", "Webhook", "Worker"]


class UnsafeSettings(RuntimeError):
    """Production was asked for with settings that are only good for development; says each of them."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="VR_", env_nested_delimiter="__", env_file=".env", extra="ignore", frozen=True
    )

    environment: Literal["development", "production"] = Field(
        "development", description="production refuses default secrets and the demo user."
    )
    demo_user: bool | None = Field(None, description="Seed test@example.com; by default in development only.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level that is logged."
    )
    data_dir: Path = Field(ROOT / "data", description="Uploads, results, model cache and the embedded database.")
    sample_dir: Path = Field(ROOT / "data" / "sample", description="Songs that `filename` may name.")
    assets_dir: Path = Field(ROOT / "assets", description="Model catalogue and embedded model.")

    db: Database = Field(default_factory=Database)
    queue: Queue = Field(default_factory=Queue)
    auth: Auth = Field(default_factory=Auth)
    mail: Mail = Field(default_factory=Mail)
    credit: Credit = Field(default_factory=Credit)
    limit: Limit = Field(default_factory=Limit)
    upload: Upload = Field(default_factory=Upload)
    engine: Engine = Field(default_factory=Engine)
    worker: Worker = Field(default_factory=Worker)
    webhook: Webhook = Field(default_factory=Webhook)
    server: Server = Field(default_factory=Server)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def development(self) -> bool:
        return self.environment == "development"

    @cached_property
    def database_url(self) -> str:
        return self.db.url or f"sqlite:///{self.data_dir / 'vocal_remover.db'}"

    @property
    def seeds_demo_user(self) -> bool:
        return self.development if self.demo_user is None else self.demo_user

    @property
    def registration_open(self) -> bool:
        return self.development if self.auth.registration is None else self.auth.registration

    @property
    def threads(self) -> int:
        return self.engine.threads or len(os.sched_getaffinity(0))

    def refuse_unsafe(self) -> None:
        """Raise UnsafeSettings naming every reason why production must not start with these settings."""
        if self.development:
            return
        reasons = []
        for place, secret in enumerate(self.auth.secrets):
            if self.auth.secrets_file is not None:
                name = f"line {place + 1} of VR_AUTH__SECRETS_FILE"
            else:
                name = "VR_AUTH__ACCEPTED_SECRETS" if place else "VR_AUTH__SECRET"
            if secret == DEVELOPMENT_SECRET:
                reasons.append(f"{name} is the development secret: set one of your own.")
            elif len(secret) < SHORTEST_SECRET:
                reasons.append(f"{name} is shorter than {SHORTEST_SECRET} characters.")
        if self.mail.host and self.mail.tls == "none" and self.mail.password.get_secret_value():
            reasons.append("VR_MAIL__TLS is none: the mail server's password would travel in the clear.")
        if self.seeds_demo_user:
            reasons.append("VR_DEMO_USER is on: its password is public.")
        if self.webhook.insecure:
            reasons.append("VR_WEBHOOK__INSECURE is on: what webhooks say would travel in the clear.")
        if reasons:
            raise UnsafeSettings("production settings are unsafe: " + " ".join(reasons))

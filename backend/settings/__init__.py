"""Every setting of the service, from the environment (`VR_DB__URL`, `VR_ENGINE__THREADS`, …) or `.env`.

The defaults are the embedded mode: one machine, SQLite, no server to start. `docs/configuration.md` is
generated from these files.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import DirectoryPath, Field, computed_field
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from backend.settings.account import Audit, Auth, Mail
from backend.settings.machine import ROOT, Database, Engine, Queue, Server, Worker
from backend.settings.observe import Observe
from backend.settings.payment import Payment
from backend.settings.storage import Storage
from backend.settings.tenant import Tenant
from backend.settings.unsafe import reasons
from backend.settings.usage import Credit, Limit, Upload
from backend.settings.web import Web
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
    secrets_dir: DirectoryPath | None = Field(
        None,
        description="Folder with a file for each secret, named like its variable (`VR_DB__URL`, `VR_AUTH__SECRET`, …), "
        "as container platforms mount them; the environment comes first.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Of a line in the log: for people, or one JSON object."
    )
    data_dir: Path = Field(ROOT / "data", description="Uploads, results, model cache and the embedded database.")
    sample_dir: Path = Field(ROOT / "data" / "sample", description="Songs that `filename` may name.")
    assets_dir: Path = Field(ROOT / "assets", description="Model catalogue and embedded model.")

    db: Database = Field(default_factory=Database)
    storage: Storage = Field(default_factory=Storage)
    queue: Queue = Field(default_factory=Queue)
    auth: Auth = Field(default_factory=Auth)
    mail: Mail = Field(default_factory=Mail)
    audit: Audit = Field(default_factory=Audit)
    credit: Credit = Field(default_factory=Credit)
    payment: Payment = Field(default_factory=Payment)
    limit: Limit = Field(default_factory=Limit)
    tenant: Tenant = Field(default_factory=Tenant)
    upload: Upload = Field(default_factory=Upload)
    engine: Engine = Field(default_factory=Engine)
    worker: Worker = Field(default_factory=Worker)
    webhook: Webhook = Field(default_factory=Webhook)
    web: Web = Field(default_factory=Web)
    server: Server = Field(default_factory=Server)
    observe: Observe = Field(default_factory=Observe)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        written = dotenv_settings.env_vars if isinstance(dotenv_settings, DotEnvSettingsSource) else {}
        files = NestedSecretsSettingsSource(
            file_secret_settings,
            secrets_dir=os.environ.get("VR_SECRETS_DIR") or written.get("vr_secrets_dir"),
            secrets_dir_missing="ok",
        )
        return init_settings, env_settings, dotenv_settings, files

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
    def logs_requests(self) -> bool:
        return self.log_format == "json" if self.observe.access_log is None else self.observe.access_log

    @property
    def threads(self) -> int:
        return self.engine.threads or len(os.sched_getaffinity(0))

    def refuse_unsafe(self) -> None:
        """Raise UnsafeSettings naming every reason why production must not start with these settings."""
        if self.development:
            return
        found = list(reasons(self))
        if found:
            raise UnsafeSettings("production settings are unsafe: " + " ".join(found))

"""Every setting of the service, from the environment (`VR_DB__URL`, `VR_ENGINE__THREADS`, …) or `.env`.

The defaults are the embedded mode: one machine, SQLite, no server to start. `docs/configuration.md` is
generated from this file.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from limits import parse_many
from pydantic import BaseModel, Field, PrivateAttr, SecretStr, computed_field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from backend.webhook_settings import Webhook

ROOT = Path(__file__).resolve().parent.parent
DEVELOPMENT_SECRET = "development-only-secret-never-use-in-production"
SHORTEST_SECRET = 32
MOST_TURNS = 16


class UnsafeSettings(RuntimeError):
    """Production was asked for with settings that are only good for development; says each of them."""


class Database(BaseModel):
    url: str = Field("", description="SQLAlchemy URL; empty means SQLite below the data folder.")
    pool_size: int = Field(10, ge=1, description="Connections kept open by each process.")
    busy_timeout_seconds: float = Field(15, gt=0, description="SQLite: how long a writer waits for its turn.")


class Queue(BaseModel):
    url: str = Field("", description="Celery broker URL (redis://, amqp://); empty means files below the data folder.")
    polling_seconds: float = Field(0.2, gt=0, description="Broker without a server: how often its folder is read.")
    plans: dict[str, Annotated[int, Field(ge=1, le=MOST_TURNS)]] = Field(
        {"standard": 1, "priority": 3},
        description="How many tasks of a tenant are taken in each round through the tenants that wait, by its plan; "
        "a plan that is not named here has one.",
    )


class Auth(BaseModel):
    secret: SecretStr = Field(
        SecretStr(DEVELOPMENT_SECRET), description=f"Signs tokens and links; at least {SHORTEST_SECRET} characters."
    )
    accepted_secrets: SecretStr = Field(
        SecretStr(""),
        description="Further secrets, comma-separated, that are accepted and sign nothing: the next one before a "
        "change, the former one after it.",
    )
    secrets_file: Path | None = Field(
        None, description="File with secrets, one a line, in place of the two above: the first signs, all are accepted."
    )
    issuer: str = Field("vocal-remover", description="`iss` of our tokens.")
    audience: str = Field("vocal-remover-api", description="`aud` of our tokens.")
    token_minutes: int = Field(60, ge=1, description="Life of an access token.")
    refresh_days: int = Field(30, ge=1, description="Life of a login that is not refreshed.")
    mail_minutes: int = Field(60, ge=1, description="Life of a token that is sent by mail.")
    link_minutes: int = Field(60, ge=1, description="Life of a signed download link.")
    ticket_seconds: int = Field(60, ge=1, le=60, description="Life of a one-use ticket.")
    registration: bool | None = Field(
        None, description="Whether `POST /register` is open; by default in development only."
    )
    invitation_only: bool = Field(
        False, description="Whether registering needs a code that `vocal-remover users invite` makes."
    )
    verified_email: bool = Field(
        False, description="Whether the welcome credits wait until the e-mail address is proven."
    )
    lock_after: int = Field(
        5, ge=1, description="Wrong passwords for one account from one address before it must wait."
    )
    lock_seconds: float = Field(30, gt=0, description="The first wait; it doubles with each further wrong password.")
    lock_longest_seconds: float = Field(900, gt=0, description="The longest wait; twice as long forgets everything.")

    _from_file: tuple[str, ...] = PrivateAttr(())

    @field_validator("secret")
    @classmethod
    def _not_empty(cls, secret: SecretStr) -> SecretStr:
        if not secret.get_secret_value():
            raise ValueError("it is empty: everybody could sign tokens with it")
        return secret

    @model_validator(mode="after")
    def _read_file(self) -> Self:
        if self.secrets_file is not None:
            try:
                lines = self.secrets_file.read_text("utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"secrets_file can't be read: {type(error).__name__}") from None
            self._from_file = tuple(line.strip() for line in lines if line.strip())
            if not self._from_file:
                raise ValueError("secrets_file is empty: everybody could sign tokens")
        return self

    @property
    def secrets(self) -> tuple[str, ...]:
        """The first signs; each is accepted."""
        if self._from_file:
            return self._from_file
        further = (word.strip() for word in self.accepted_secrets.get_secret_value().split(","))
        return (self.secret.get_secret_value(), *(word for word in further if word))


class Mail(BaseModel):
    host: str = Field("", description="SMTP server; empty prints letters (development) or sends none (production).")
    port: int = Field(587, ge=1, le=65535, description="Its port.")
    tls: Literal["starttls", "tls", "none"] = Field("starttls", description="How the connection is protected.")
    user: str = Field("", description="Who logs in there; empty: nobody.")
    password: SecretStr = Field(SecretStr(""), description="That user's password.")
    sender: str = Field("vocal-remover@localhost", description="Sender of our letters.")
    link_base: str = Field("", description="Address of the web app, for links in letters; empty: letters show tokens.")


class Credit(BaseModel):
    price: int = Field(1_000, ge=0, description="Millicredits per started block of audio and step.")
    block_seconds: int = Field(600, ge=1, description="Length of a block of audio.")
    signup_grant: int = Field(10_000, ge=0, description="Millicredits given to a new account.")


class Limit(BaseModel):
    storage: str = Field(
        "memory://",
        description="Where counters live: memory:// (one API process), sqlite:// (several on one machine: a file of "
        "their own in the data folder), or redis://…",
    )
    address: str = Field("1200 per minute", description="Requests per client address, probes aside.")
    user: str = Field("600 per minute", description="Requests per user, with tokens, keys and links together.")
    key: str = Field("600 per minute", description="Requests per API key; they count for its user, too.")
    tenant: str = Field("3000 per minute", description="Requests per tenant.")
    separate: str = Field("2 per 30 seconds", description="Submissions per user.")
    login: str = Field("10 per minute", description="Logins and registrations per client address.")
    trusted_proxies: str = Field(
        "", description="Addresses whose X-Forwarded-For is believed, comma-separated; empty believes none."
    )

    @field_validator("storage")
    @classmethod
    def _known(cls, storage: str) -> str:
        if not storage.startswith(("memory://", "sqlite://", "redis://", "rediss://", "redis+", "valkey")):
            raise ValueError(f"{storage!r} is no place for counters; write memory://, sqlite:// or redis://…")
        return storage

    @field_validator("address", "user", "key", "tenant", "separate", "login")
    @classmethod
    def _readable(cls, limit: str) -> str:
        try:
            parse_many(limit)  # slowapi would only log that it can't, and limit nothing
        except ValueError:
            raise ValueError(f"{limit!r} is no rate limit; write it like '2 per 30 seconds'") from None
        return limit


class Upload(BaseModel):
    max_bytes: int = Field(1_000_000_000, ge=1, description="Largest file.")
    max_seconds: float = Field(6 * 3600, gt=0, description="Longest song.")
    decode_memory_bytes: int = Field(1_500_000_000, ge=1, description="Address space of the decoder child.")


class Engine(BaseModel):
    threads: int = Field(0, ge=0, description="Threads of the network; 0 means every core.")
    runtime: Literal["auto", "openvino", "onnxruntime", "onnxruntime_cuda", "spleeter_tf", "kserve"] = Field(
        "auto",
        description="What runs the network: auto (the fastest here), openvino, onnxruntime, onnxruntime_cuda, "
        "spleeter_tf (Spleeter itself), or kserve (a server elsewhere).",
    )
    precision: Literal["auto", "f32", "bf16", "f16", "int8"] = Field(
        "auto", description="Numbers inside the network; auto: what the device is made for. Said in each receipt."
    )
    kserve_url: str = Field(
        "", description="For kserve: base URL of a server that speaks the Open Inference Protocol over HTTP."
    )
    default_model: str = Field(
        "auto", description="Model of a task that names none; auto: spleeter:2stems when ready, else lite."
    )
    weights_mirror: str = Field("", description="Base URL that stands in for the published releases.")
    weights_local: Path | None = Field(None, description="Folder with archives or unpacked weights.")
    spleeter_python: Path | None = Field(
        None, description="For spleeter_tf: the Python of the environment that scripts/setup-spleeter makes."
    )
    warmup_song: Path = Field(
        ROOT / "data" / "sample" / "warmup.mp3", description="Separated once before the first task is taken."
    )


class Worker(BaseModel):
    name: str = Field("worker", description="Stable name of a worker, shown by /health.")
    pool: Literal["threads", "prefork", "solo"] = Field("threads", description="Celery pool.")
    concurrency: int = Field(
        2, ge=1, description="Tasks at once in one worker; with the pool `threads` they share one loaded model."
    )
    lease_seconds: float = Field(30, gt=1, description="A task not renewed for so long goes to another worker.")
    renew_seconds: float = Field(1, gt=0, description="How often progress and lease are written.")
    heartbeat_seconds: float = Field(5, gt=0, description="How often a worker says that it lives.")
    sweep_seconds: float = Field(2, gt=0, description="How often lost wake-ups and expired leases are looked for.")
    max_attempts: int = Field(3, ge=1, description="Attempts before a task fails for good.")
    grace_seconds: float = Field(20, ge=0, description="When told to stop: how long a task may still run.")
    expected: int = Field(1, ge=0, description="Workers that /health expects to see.")

    @property
    def slots(self) -> int:
        """Tasks at once in all of them."""
        return max(1, self.expected) * self.concurrency


class Server(BaseModel):
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port the API listens on.")


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

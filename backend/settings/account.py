"""Settings of accounts: who gets in, and what letters they get."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, PrivateAttr, SecretStr, field_validator, model_validator

DEVELOPMENT_SECRET = "development-only-secret-never-use-in-production"
SHORTEST_SECRET = 32


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
    login_days: int = Field(90, ge=1, description="Life of a login, however often it is refreshed.")
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
    invitation_days: float = Field(14, gt=0, description="How long an invitation into a tenant is good.")
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
        return self._from_file or _words(self.secret.get_secret_value(), self.accepted_secrets.get_secret_value())


@lru_cache(maxsize=8)  # asked for with each link that is signed
def _words(secret: str, further: str) -> tuple[str, ...]:
    words = (word.strip() for word in further.split(","))
    return (secret, *(word for word in words if word))


class Audit(BaseModel):
    address_days: int = Field(90, ge=1, description="How long the audit log keeps the addresses that acts came from.")


class Mail(BaseModel):
    host: str = Field("", description="SMTP server; empty prints letters (development) or sends none (production).")
    port: int = Field(587, ge=1, le=65535, description="Its port.")
    tls: Literal["starttls", "tls", "none"] = Field("starttls", description="How the connection is protected.")
    user: str = Field("", description="Who logs in there; empty: nobody.")
    password: SecretStr = Field(SecretStr(""), description="That user's password.")
    sender: str = Field("vocal-remover@localhost", description="Sender of our letters.")
    link_base: str = Field("", description="Address of the web app, for links in letters; empty: letters show tokens.")

"""Settings of what browsers are told; a group of `backend.settings`."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

ANY_ORIGIN = "*"


class Web(BaseModel):
    allowed_origins: str = Field(
        "",
        description="Origins whose pages may read answers (CORS), comma-separated, each exact, like "
        "https://app.example.com; empty: none.",
    )
    hsts_seconds: int = Field(
        31_536_000,
        ge=0,
        description="How long browsers keep to https after an answer over https (Strict-Transport-Security), in "
        "production; 0: unsaid.",
    )
    docs: bool = Field(True, description="Whether /docs and /openapi.json are there.")
    metrics: bool = Field(True, description="Whether /metrics is there; it needs no login and shows no tenant.")

    @field_validator("allowed_origins")
    @classmethod
    def _exact(cls, text: str) -> str:
        for origin in _listed(text):
            parts = urlsplit(origin)
            exact = (
                parts.scheme in ("http", "https") and parts.hostname and origin == f"{parts.scheme}://{parts.netloc}"
            )
            if origin != ANY_ORIGIN and (not exact or ANY_ORIGIN in origin or "@" in origin):
                raise ValueError(f"{origin!r} is no origin; write it like https://app.example.com")
        return text

    @property
    def origins(self) -> list[str]:
        return _listed(self.allowed_origins)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]

"""Settings of webhooks; a group of `backend.settings`."""

from __future__ import annotations

from ipaddress import ip_network

from pydantic import BaseModel, Field, field_validator


class Webhook(BaseModel):
    poll_seconds: float = Field(1, gt=0, description="How often a worker looks for deliveries that are due.")
    parallel: int = Field(8, ge=0, description="Deliveries at once in one worker; 0: this worker delivers none.")
    timeout_seconds: float = Field(15, gt=0, le=60, description="How long a receiver may take, all in all.")
    retry_seconds: tuple[float, ...] = Field(
        (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400),
        description="Pause before each further attempt, as a JSON list; each is varied by a fifth.",
    )
    disable_after_seconds: float = Field(
        5 * 86_400, gt=0, description="A webhook to which nothing got through for so long is switched off."
    )
    rotation_seconds: float = Field(86_400, ge=0, description="How long a replaced secret still signs beside the new.")
    keep_days: int = Field(30, ge=1, description="Deliveries and their log are removed after so long.")
    max_per_tenant: int = Field(20, ge=1, description="Webhooks that a tenant may have.")
    insecure: bool = Field(False, description="Whether http URLs are allowed too; in development only.")
    allowed_networks: str = Field(
        "", description="Private networks that webhooks may reach all the same, comma-separated, like 10.1.0.0/16."
    )

    @field_validator("allowed_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        for part in text.split(","):
            if part.strip():
                ip_network(part.strip())  # raises ValueError, and says what is wrong with it
        return text

"""Settings of what is seen from outside: traces, the log of requests, the watch on the queue."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator


class Observe(BaseModel):
    access_log: bool | None = Field(
        None, description="A line in the log for each request but probes; by default where VR_LOG_FORMAT is json."
    )
    stalled_seconds: float = Field(
        60, gt=0, description="Tasks that could start wait for so long and none does: that is an alarm."
    )
    traces_url: str = Field(
        "",
        description="Where traces are sent (OTLP over HTTP), like http://collector:4318/v1/traces; empty: there are "
        "none. The exporter's OTEL_EXPORTER_OTLP_* variables, such as _HEADERS, count as well.",
    )
    traces_share: float = Field(1.0, ge=0, le=1, description="Part of the requests that are traced.")
    traces_continue: bool = Field(
        False,
        description="A request's `traceparent` continues its trace; only where nobody but your own proxy can set it. "
        "Otherwise ours begins anew, with a link to it.",
    )

    @field_validator("traces_url")
    @classmethod
    def _http(cls, url: str) -> str:
        if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            raise ValueError("is no address; write it like http://collector:4318/v1/traces")
        return url

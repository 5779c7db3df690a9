"""Settings of where songs and results lie; a group of `backend.settings`."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator

MIB = 1 << 20
MOST_LINK_SECONDS = 7 * 86_400
"""What signatures of S3 may last."""


class Storage(BaseModel):
    url: str = Field("", description="Where songs and results lie: s3://bucket/prefix; empty means the data folder.")
    endpoint: str = Field("", description="S3: base URL of the server; empty means Amazon's for the region.")
    public_endpoint: str = Field(
        "", description="S3: the same server as clients reach it, for links; empty means the endpoint."
    )
    region: str = Field("us-east-1", description="S3: region that requests are signed for.")
    access_key: SecretStr = Field(
        SecretStr(""), description="S3: access key; empty means what the machine has (role, profile)."
    )
    secret_key: SecretStr = Field(SecretStr(""), description="S3: secret of the access key.")
    path_style: bool = Field(True, description="S3: the bucket in the path; off: in the host's name.")
    links: bool = Field(
        True,
        description="S3: stems are downloaded, and songs may be sent, by links to it; off: everything goes through "
        "the API, for servers that clients can't reach.",
    )
    link_seconds: int = Field(300, ge=1, le=MOST_LINK_SECONDS, description="S3: how long a link to a stem can be used.")
    upload_link_seconds: int = Field(
        3600, ge=1, le=MOST_LINK_SECONDS, description="S3: how long a link to send a song by can be used."
    )
    part_bytes: int = Field(
        16 * MIB, ge=5 * MIB, le=1024 * MIB, description="S3: larger files are sent in parts of so many bytes."
    )
    timeout_seconds: float = Field(20, gt=0, description="S3: how long to wait for a connection, or for more bytes.")
    attempts: int = Field(3, ge=1, le=10, description="S3: how often a request is tried before it counts as failed.")

    check_hours: int = Field(
        24, ge=0, description="How often files that no row names are looked for and removed; 0: never by itself."
    )

    @field_validator("url")
    @classmethod
    def _known(cls, url: str) -> str:
        if url and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.-]+)*/?", url):
            raise ValueError(f"{url!r} is no place for songs and results; write s3://bucket/prefix")
        return url

    @property
    def bucket(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def prefix(self) -> str:
        """What every key begins with: empty, or ends with a slash."""
        path = urlsplit(self.url).path.strip("/")
        return f"{path}/" if path else ""

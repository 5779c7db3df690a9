from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, EmailStr, Field, StringConstraints

from backend.auth.password import LONGEST_PASSWORD

Password = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_PASSWORD)]
NewPassword = Annotated[str, StringConstraints(min_length=8, max_length=LONGEST_PASSWORD)]

DEMO = {"email": "test@example.com", "password": "password123"}


class Login(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"email": DEMO["email"], "password": DEMO["password"]}}
    )

    email: Annotated[str, StringConstraints(min_length=3, max_length=320)]
    password: Password


class Registration(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"email": "singer@example.com", "password": "a long pass phrase"}},
    )

    email: EmailStr
    password: NewPassword


class AccessToken(BaseModel):
    access_token: str
    token_type: str = "bearer"
    expires_in: int = Field(description="Seconds until the token expires")

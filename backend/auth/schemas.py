from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, EmailStr, Field, StrictBool, StringConstraints

from backend.auth.password import LONGEST_PASSWORD

Address = Annotated[str, StringConstraints(min_length=3, max_length=320)]
Password = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_PASSWORD)]
NewPassword = Annotated[str, StringConstraints(min_length=8, max_length=LONGEST_PASSWORD)]
OpaqueToken = Annotated[str, StringConstraints(min_length=1, max_length=300)]

DEMO = {"email": "test@example.com", "password": "password123"}

ALSO_KEYS = "Revoke every API key of yours as well"


class Login(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"email": DEMO["email"], "password": DEMO["password"]}}
    )

    email: Address
    password: Password


class Registration(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"email": "singer@example.com", "password": "a long pass phrase"}},
    )

    email: EmailStr
    password: NewPassword
    invitation: Annotated[str, StringConstraints(max_length=100)] | None = Field(
        None, description="The code of an invitation. One that is not good is refused, also where none is needed"
    )


class AccessToken(BaseModel):
    access_token: str
    token_type: str = "bearer"
    expires_in: int = Field(description="Seconds until the access token expires")
    refresh_token: str = Field(description="Good once, for POST /refresh, which gives the next one")


class Refresh(BaseModel):
    model_config = ConfigDict(extra="forbid")

    refresh_token: OpaqueToken


class LogoutEverywhere(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: StrictBool = Field(False, description=ALSO_KEYS)


class LoginView(BaseModel):
    id: UUID
    tenant_id: UUID = Field(description="Where it is now")
    created_at: datetime
    refreshed_at: datetime | None = Field(description="Null: never since then")
    expires_at: datetime = Field(description="When it ends if it is not refreshed")
    current: bool = Field(description="This request came with it")
    impersonated: bool = Field(description="An operator acts as you with it: the log of that tenant says why")


class PasswordChange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    current_password: Password
    new_password: NewPassword
    keys: StrictBool = Field(False, description=ALSO_KEYS)


class ForgottenPassword(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"email": "singer@example.com"}})

    email: Address


class PasswordReset(BaseModel):
    model_config = ConfigDict(extra="forbid")

    token: OpaqueToken = Field(description="From the letter")
    new_password: NewPassword
    keys: StrictBool = Field(False, description=ALSO_KEYS)


class MailToken(BaseModel):
    model_config = ConfigDict(extra="forbid")

    token: OpaqueToken = Field(description="From the letter")

"""Settings that an operator may change while the service runs. They stand above the environment's."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from backend.problem import Problem
from backend.setting import repository
from backend.settings import Settings
from backend.settings.unsafe import reasons

log = logging.getLogger(__name__)

CHANGEABLE = (
    "auth.registration",
    "auth.invitation_only",
    "credit.price",
    "credit.block_seconds",
    "credit.signup_grant",
    "limit.separate",
    "limit.login",
    "limit.user",
    "limit.key",
    "limit.tenant",
    "limit.address",
    "upload.max_bytes",
    "upload.max_seconds",
    "queue.plans",
    "log_level",
)
"""No secrets and no addresses: the audit log keeps what they were."""


class SettingUnknown(Problem):
    status = 404
    code = "setting_not_found"
    detail = "There is no such setting, or it can't be changed while the service runs."
    advice = "GET /api/v1/admin/settings lists those that can; the others come from the environment."


class SettingInvalid(Problem):
    status = 422
    code = "setting_invalid"
    advice = "docs/configuration.md says what each setting takes."
    field = "value"


@dataclass(frozen=True, slots=True)
class Known:
    """A setting, as it stands."""

    name: str
    value: Any
    environment: Any
    """What it is when nobody changes it here."""
    changed: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Change:
    before: Any
    after: Any


def listed(session: Session, environment: Settings) -> Iterator[Known]:
    stored = repository.stored(session)
    now = effective(environment, stored)
    for name in CHANGEABLE:
        yield Known(name, value_of(now, name), value_of(environment, name), name in stored, _meaning(name))


def stored(session: Session) -> dict[str, Any]:
    return repository.stored(session)


def change(session: Session, environment: Settings, name: str, value: Any) -> Change:
    """For every process, from its next look on. Raises SettingUnknown, SettingInvalid."""
    before = _in_force(session, environment, name)
    after = value_of(_changed(environment, name, value), name)
    repository.store(session, name, after)
    return Change(before, after)


def unset(session: Session, environment: Settings, name: str) -> Change | None:
    """Back to the environment's; None for one that was not changed. Raises SettingUnknown."""
    before = _in_force(session, environment, name)
    return Change(before, value_of(environment, name)) if repository.remove(session, name) else None


def effective(environment: Settings, stored: Mapping[str, Any]) -> Settings:
    """The environment's settings under the stored ones. What can't be taken here is left out, and said."""
    for name, value in stored.items():
        try:
            if name in CHANGEABLE:
                environment = _changed(environment, name, value)
        except SettingInvalid:
            log.error("the stored setting %s is not valid here: the environment's is in force", name)
    return environment


def value_of(settings: Settings, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _in_force(session: Session, environment: Settings, name: str) -> Any:
    if name not in CHANGEABLE:
        raise SettingUnknown
    return value_of(effective(environment, repository.stored(session)), name)


def _changed(settings: Settings, name: str, value: Any) -> Settings:
    """Raises SettingInvalid, also for what production would not start with."""
    try:
        changed = _with(settings, name, _checked(settings, name, value))
    except ValidationError as error:
        why = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        raise SettingInvalid(f"{name}: {why}") from None
    if not settings.development and (unsafe := set(reasons(changed)).difference(reasons(settings))):
        raise SettingInvalid(f"{name}: {' '.join(unsafe)}")
    return changed


def _checked(settings: Settings, name: str, value: Any) -> Any:
    """By the settings' own rules; a fresh group, because the one in force would read its secrets anew."""
    group, _, field = name.rpartition(".")
    if not group:
        rule: TypeAdapter[Any] = TypeAdapter(Settings.model_fields[field].annotation or Any)
        return rule.validate_python(value, strict=True)
    model: type[BaseModel] = type(getattr(settings, group))
    return getattr(model.model_validate({field: value}, strict=True), field)


def _with(settings: Settings, name: str, value: Any) -> Settings:
    group, _, field = name.rpartition(".")
    if not group:
        return settings.model_copy(update={field: value})
    return settings.model_copy(update={group: getattr(settings, group).model_copy(update={field: value})})


def _meaning(name: str) -> str:
    group, _, field = name.rpartition(".")
    model: Any = Settings.model_fields[group].annotation if group else Settings
    return model.model_fields[field].description or ""

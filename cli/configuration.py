"""The table of settings in `docs/configuration.md`, made from the settings themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from backend.settings import ROOT, Settings

HEAD = """# Configuration

Every setting, from the environment or a file `.env`. Made by `vocal-remover configuration`; don't edit.

| variable | default | meaning |
|---|---|---|
"""


def table() -> str:
    return HEAD + "\n".join(_rows(Settings, "VR_"))


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            yield from _rows(group, f"{prefix}{name.upper()}__")
        else:
            yield f"| `{prefix}{name.upper()}` | {_default(field)} | {field.description} |"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if isinstance(value, SecretStr):
        return "(development only)" if value.get_secret_value() else "(none)"
    if isinstance(value, Path):
        value = value.relative_to(ROOT)
    return "(none)" if value in (None, "") else f"`{value}`"

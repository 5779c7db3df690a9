"""Statements that every request needs are put together once.

To build one costs several times what it costs to run it: SQLAlchemy looks at each column, operator and value anew.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from sqlalchemy import bindparam
from sqlalchemy.sql import Executable

from backend.tenant.scope import Scope

Given = ParamSpec("Given")
Statement = TypeVar("Statement", bound=Executable)


def built_once(build: Callable[Given, Statement]) -> Callable[Given, tuple[Statement, dict[str, Any]]]:
    """For functions that return a statement: it and its values, as `session.execute(*…)` takes them.

    The function is called with a parameter in place of each value. Where it branches, it may only ask for None or for
    a bool: those are handed on as they are, and each combination of them is a statement of its own.
    """
    parameters = inspect.signature(build).parameters
    names = list(parameters)
    scopes = [each for each in parameters.values() if each.annotation in (Scope, Scope.__name__)]
    if len(scopes) > 1 or (scopes and {"tenant_id", "user_id"} & parameters.keys()):
        raise TypeError(
            f"{build.__qualname__}: a scope's values are called tenant_id and user_id, and nothing else may be"
        )
    built: dict[tuple[Any, ...], Statement] = {}

    @functools.wraps(build)
    def statement(*args: Given.args, **kwargs: Given.kwargs) -> tuple[Statement, dict[str, Any]]:
        given = dict(zip(names, args, strict=False)) | kwargs
        values: dict[str, Any] = {}
        shape = []
        for name, value in given.items():
            if value is None or isinstance(value, bool):
                shape.append((name, value))
            elif isinstance(value, Scope):
                shape.append((name, value.user_id is None))
                values |= {"tenant_id": value.tenant_id, "user_id": value.user_id}
            else:
                values[name] = value
        known = tuple(shape)
        if known not in built:
            built[known] = cast(Any, build)(**{name: _asked(name, value) for name, value in given.items()})
        return built[known], values

    return statement


def _asked(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Scope):
        user: Any = None if value.user_id is None else bindparam("user_id")
        return Scope(cast(Any, bindparam("tenant_id")), user)
    return bindparam(name, expanding=not isinstance(value, str) and hasattr(value, "__len__"))

"""What is going on when a line is logged: which request, whose, which task. JSON logs say it with every line.

It is kept in a context: each request and each task has its own, in all the threads that work in a copy of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial

_about: ContextVar[dict[str, str | int]] = ContextVar("about")
_NOTHING: Mapping[str, str | int] = {}


@contextmanager
def about(**facts: str | int) -> Iterator[None]:
    """For lines that are logged while the block lasts; within another block, beside its facts."""
    token = _about.set({**_about.get(_NOTHING), **facts})
    try:
        yield
    finally:
        _about.reset(token)


def note(**facts: str | int) -> None:
    """Known only now: for what is left of the block."""
    held = _about.get(None)
    if held is not None:
        held.update(facts)


def here(function: Callable[[], None]) -> Callable[[], None]:
    """For a new thread: with what is going on here; by itself it would know nothing of it."""
    return partial(copy_context().run, function)


def facts() -> Mapping[str, str | int]:
    return _about.get(_NOTHING)

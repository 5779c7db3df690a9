"""Server-sent events out of bytes, however they were cut (WHATWG HTML, 9.2.6)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 1 << 20
"""Characters of one event: more is no event of this service, and would fill the memory."""

_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    kind: str
    data: str
    id: str | None
    """None when this event has none of its own."""


class Parser:
    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._rest: list[str] = []
        self._returned = False
        self._kind = ""
        self._id: str | None = None
        self._data: list[str] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Raises ValueError for an event without an end."""
        text = self._decode(piece)
        if not text:
            return
        if self._returned:
            text = text.removeprefix("\n")  # of the line that the last piece ended
        self._returned = text.endswith("\r")
        *lines, rest = _END.split(text)
        for line in lines:
            whole = "".join([*self._rest, line])
            self._rest = []
            if (event := self._line(whole)) is not None:
                yield event
        self._rest.append(rest)
        self._size += len(rest)
        if self._size > LONGEST:
            raise ValueError(f"an event of more than {LONGEST} characters")

    def _line(self, line: str) -> Event | None:
        if not line:
            event = Event(self._kind or "message", "\n".join(self._data), self._id) if self._data else None
            self._kind, self._id, self._data, self._size = "", None, [], 0
            return event
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        self._size += len(line) + 1
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._kind = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

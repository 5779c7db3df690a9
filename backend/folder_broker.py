"""Kombu's file system transport, made safe to use from several processes and threads at once.

Kombu's writes into files that others can already see: who reads one at that moment finds it empty, which ends a worker
of Celery's. Here files are whole when they appear.
"""

from __future__ import annotations

import logging
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

log = logging.getLogger(__name__)

TELL_SECONDS = 60.0


class Channel(filesystem.Channel):
    _silent_until = 0.0

    def get_table(self, exchange: str) -> list[Any]:
        try:
            return list(super().get_table(exchange))
        except ValueError:  # it was being written when the power went
            return []

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str | None, queue: str) -> None:
        bound = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        table = self.get_table(exchange)
        if bound not in table:
            self.control_folder.mkdir(exist_ok=True)
            self._write(self.control_folder / f"{exchange}.exchange", [bound, *table])

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]  # its types disagree
        name = f"{time.monotonic_ns():020d}_{uuid.uuid4()}.{queue}.msg"
        self._write(Path(self.data_folder_out, name), payload)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        """Whoever removes a message has it."""
        try:
            for path in sorted(Path(self.data_folder_in).glob(f"*.{queue}.msg")):
                try:
                    text = path.read_bytes()
                    path.unlink()
                    return loads(text)
                except FileNotFoundError:
                    continue
                except ValueError:
                    log.warning("a bell that can't be read: %s", path.name)
        except OSError as error:  # no file handle is left, say; Celery would end the worker with its tasks
            if time.monotonic() >= self._silent_until:
                self._silent_until = time.monotonic() + TELL_SECONDS
                log.warning("no bell can be heard, trying again: %s", error)
        raise Empty

    @staticmethod
    def _write(path: Path, value: object) -> None:
        part = path.with_name(f"{uuid.uuid4()}.part")
        try:
            part.write_text(dumps(value))
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise ChannelError(f"cannot write {path}: {error}") from error


class Transport(filesystem.Transport):
    Channel = Channel

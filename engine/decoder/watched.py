"""The decoder's process seen from outside: its frames, how long they are waited for, and what its death means."""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.decoder.process import DecoderProcess
from engine.errors import AudioEmpty, AudioHostile, AudioUndecodable, DecoderCrashed, EngineError

CHECK_SECONDS = 0.25
"""How often a caller who waits for a slow decoder is asked whether to go on."""
LARGEST_FRAME = 64 * 2**20
REFUSALS: dict[str, type[EngineError]] = {
    "undecodable": AudioUndecodable,
    "empty": AudioEmpty,
    "hostile": AudioHostile,
}


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one song may cost. `seconds` of audio; the decoder's own CPU seconds and address space; and for
    how many seconds in all this side waits for it (time spent on using what it gave does not count)."""

    seconds: float = 3600.0
    cpu_seconds: int = 300
    memory_bytes: int = 2**30
    wait_seconds: float = 300.0


class WatchedDecoder:
    def __init__(self, process: DecoderProcess, limits: DecodeLimits, check: Callable[[], None] | None) -> None:
        self.process = process
        self.check = check
        self._pipe = process.pipe
        self._poll = select.poll()
        self._poll.register(self._pipe, select.POLLIN)
        self._patience = limits.wait_seconds
        self._limits = limits

    def message(self, kind: bytes) -> dict[str, Any]:
        return self.expect(kind, *self.read_frame())

    def expect(self, kind: bytes, found: bytes, payload: bytearray) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(payload)
        if found == b"E":
            raise REFUSALS[message["kind"]](f"The file can't be read as audio: {message['reason']}.")
        if found != kind:
            raise DecoderCrashed("The decoder spoke out of turn.")
        return message

    def read_frame(self) -> tuple[bytes, bytearray]:
        head = self._read(5)
        (size,) = struct.unpack("<I", head[1:])
        if size > LARGEST_FRAME:
            raise AudioHostile("The decoder produced a single block larger than any honest file needs.")
        return bytes(head[:1]), self._read(size)

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            began = time.monotonic()
            ready = self._poll.poll(min(max(0.0, self._patience), CHECK_SECONDS) * 1000)
            self._patience -= time.monotonic() - began
            if not ready:
                if self._patience <= 0:
                    raise AudioHostile(f"Decoding took longer than {self._limits.wait_seconds:g} seconds.")
                if self.check is not None:
                    self.check()
                continue
            count = os.readv(self._pipe, [view])
            if count == 0:
                raise self._death()
            view = view[count:]
        return data

    def _death(self) -> EngineError:
        code = self.process.wait()
        if code == -signal.SIGXCPU:
            return AudioHostile(f"Decoding needed more than {self._limits.cpu_seconds} seconds of CPU.")
        if code == -signal.SIGKILL:
            return DecoderCrashed("The decoder died of SIGKILL: the machine may have run out of memory.")
        if code < 0:
            return DecoderCrashed(f"The decoder died of {signal.Signals(-code).name}.")
        return DecoderCrashed(f"The decoder ended early with status {code}.")

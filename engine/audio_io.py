"""Reading songs that nobody vouches for: a child process decodes, this side watches it.

The child (`engine.decoder_child`) has its own process group, no stdin, an almost empty environment and
resource limits; here are the wall clock, the cap on decoded seconds and the meaning of its death.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.audio import AudioInfo, Samples
from engine.errors import (
    AudioEmpty,
    AudioHostile,
    AudioTooLong,
    AudioUndecodable,
    DecoderCrashed,
    EngineError,
)

CHILD = Path(__file__).with_name("decoder_child.py")
GRACE_SECONDS = 1.0
"""Decoders give a little more or less than packets announce (priming, padding); not worth a refusal."""
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


@dataclass(frozen=True, slots=True)
class DecodeReport:
    """What a whole decoding met. `declared_seconds` is the header's word, None when it gives none."""

    frames: int
    declared_seconds: float | None
    damaged_packets: int
    nonfinite_samples: int
    downmixed: bool


def probe(path: Path, limits: DecodeLimits) -> AudioInfo:
    """Count a song's seconds by demuxing every packet and decoding its first frame alone.

    Raises AudioEmpty, AudioUndecodable, AudioTooLong, AudioHostile or DecoderCrashed.
    """
    with _child(path, "probe", limits) as child:
        header, trailer = child.message(b"H"), child.message(b"T")
    if trailer["seconds"] > limits.seconds:
        raise _too_long(limits)
    return AudioInfo(
        container=header["container"],
        codec=header["codec"],
        rate=header["rate"],
        channels=header["channels"],
        seconds=trailer["seconds"],
        declared_seconds=header["declared_seconds"],
    )


@contextmanager
def decode(path: Path, limits: DecodeLimits) -> Iterator[Decoding]:
    """Decode at the song's own rate; leaving the context kills the child if it still runs.

    Raises what `probe` raises, here or while the blocks are read.
    """
    with _child(path, "decode", limits) as child:
        yield Decoding(child, limits)


class Decoding:
    """A song being decoded. `channels` is 1 for mono songs and 2 for all others (ITU-R BS.775)."""

    def __init__(self, child: _Child, limits: DecodeLimits) -> None:
        header = child.message(b"H")
        self.rate: int = header["rate"]
        self.channels = 1 if header["channels"] == 1 else 2
        self.report: DecodeReport | None = None
        """There once `blocks` has come to its end."""
        self._declared: float | None = header["declared_seconds"]
        self._child = child
        self._limits = limits

    def blocks(self) -> Iterator[Samples]:
        """Blocks of about half a second, (frames, channels), finite, in order; once."""
        most = int((self._limits.seconds + GRACE_SECONDS) * self.rate)
        frames = 0
        while True:
            kind, payload = self._child.read_frame()
            if kind != b"A":
                break
            block = np.frombuffer(payload, np.float32).reshape(-1, self.channels)
            frames += len(block)
            if frames > most:
                raise _too_long(self._limits)
            yield block
        trailer = self._child.expect(b"T", kind, payload)
        if trailer["frames"] != frames:
            raise DecoderCrashed("The decoder's count and the samples that came do not agree.")
        self.report = DecodeReport(
            frames=frames,
            declared_seconds=self._declared,
            damaged_packets=trailer["damaged"],
            nonfinite_samples=trailer["nonfinite"],
            downmixed=trailer["downmixed"],
        )


class _Child:
    """The decoder's process seen from outside, and the frames it sends."""

    def __init__(self, process: subprocess.Popen[bytes], limits: DecodeLimits) -> None:
        assert process.stdout is not None
        self.process = process
        self._pipe = process.stdout.fileno()
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
            ready = self._poll.poll(max(0.0, self._patience) * 1000)
            self._patience -= time.monotonic() - began
            if not ready:
                raise AudioHostile(f"Decoding took longer than {self._limits.wait_seconds:g} seconds.")
            count = os.readv(self._pipe, [view])
            if count == 0:
                raise self._death()
            view = view[count:]
        return data

    def _death(self) -> EngineError:
        code = self.process.wait()
        if code == -signal.SIGXCPU:
            return AudioHostile(f"Decoding needed more than {self._limits.cpu_seconds} seconds of CPU.")
        if code < 0:
            return DecoderCrashed(f"The decoder died of {signal.Signals(-code).name}.")
        return DecoderCrashed(f"The decoder ended early with status {code}.")


@contextmanager
def _child(path: Path, task: str, limits: DecodeLimits) -> Iterator[_Child]:
    if path.stat().st_size == 0:
        raise AudioEmpty("The file is empty.")
    request = {
        "path": str(path.resolve()),
        "task": task,
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
    }
    # -I: neither the working directory nor the environment can lend it modules. BLAS would start threads,
    # each with address space of its own, for a matrix of two columns.
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", str(CHILD), json.dumps(request)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"OPENBLAS_NUM_THREADS": "1"},
        cwd="/",
        start_new_session=True,
        bufsize=0,
        pipesize=2**20,
    )
    try:
        yield _Child(process, limits)
    finally:
        with suppress(ProcessLookupError):  # it may have ended already
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _too_long(limits: DecodeLimits) -> AudioTooLong:
    return AudioTooLong(f"The song is longer than {limits.seconds:g} seconds.")

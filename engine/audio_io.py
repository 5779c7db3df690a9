"""Reading songs that nobody vouches for: a child process decodes, this side watches it.

The child (`engine.decoder`) has its own process group, an almost empty environment, resource limits and no
network; here are the wall clock, the cap on decoded seconds and the meaning of its death.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.audio import AudioInfo, Samples
from engine.decoder.metadata import NAMES, clean, picture_type
from engine.decoder.process import DecoderProcess
from engine.decoder.samples import Kind, as_samples
from engine.decoder.spare import spare
from engine.errors import (
    AudioEmpty,
    AudioHostile,
    AudioTooLong,
    AudioUndecodable,
    DecoderCrashed,
    EngineError,
)
from engine.tags import Cover, Tags

GRACE_SECONDS = 1.0
"""Decoders give a little more or less than packets announce (priming, padding); not worth a refusal."""
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


@dataclass(frozen=True, slots=True)
class DecodeReport:
    """What a whole decoding met. `declared_seconds` is the header's word, None when it gives none; `cut_off`
    says that the file lacks its end (known of ogg alone). `nonfinite_samples` are those of the blocks that
    were asked for, all else is of the whole song."""

    frames: int
    declared_seconds: float | None
    damaged_packets: int
    nonfinite_samples: int
    downmixed: bool
    cut_off: bool = False


def warm_decoder() -> None:
    """Keep one decoder's process started ahead in this process, until it ends or `cool_decoder` is called."""
    spare.warm()


def cool_decoder() -> None:
    """End the process that `warm_decoder` keeps, if any, and keep none."""
    spare.cool()


def probe(path: Path, limits: DecodeLimits) -> AudioInfo:
    """Count a song's seconds by demuxing every packet and decoding its first frame alone.

    Raises AudioEmpty, AudioUndecodable, AudioTooLong, AudioHostile or DecoderCrashed.
    """
    with _child(path, "probe", limits, followed=True) as child:
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
def decode(
    path: Path, limits: DecodeLimits, *, followed: bool = False, check: Callable[[], None] | None = None
) -> Iterator[Decoding]:
    """Decode at the song's own rate; leaving the context kills the child if it still runs.

    `followed` says that the song will be decoded once more: a decoder for that is made ready meanwhile. `check` is
    called while the child lets us wait, and may raise.

    Raises what `probe` raises, here or while the blocks are read.
    """
    with _child(path, "decode", limits, followed=followed, check=check) as child:
        yield Decoding(child, limits)


class Decoding:
    """A song being decoded. `channels` is 1 for mono songs and 2 for all others (ITU-R BS.775)."""

    def __init__(self, child: _Child, limits: DecodeLimits) -> None:
        header = child.message(b"H")
        self.rate: int = header["rate"]
        self.channels = 1 if header["channels"] == 1 else 2
        self.report: DecodeReport | None = None
        """There once `blocks` has come to its end."""
        self.tags = _tags(child)
        self._declared: float | None = header["declared_seconds"]
        self._child = child
        self._limits = limits

    def blocks(self, start_frame: int = 0) -> Iterator[Samples]:
        """Blocks of about half a second, (frames, channels), finite, in order; once.

        From sample `start_frame` on: what lies before is decoded and counted, but doesn't come here. The
        caller may stop before the end.
        """
        with suppress(BrokenPipeError):  # what it said before it died is read next
            self._child.process.send({"start_frame": start_frame})
        return self._read(start_frame)

    def _read(self, start_frame: int) -> Iterator[Samples]:
        most = int((self._limits.seconds + GRACE_SECONDS) * self.rate)
        frames, nonfinite = start_frame, 0
        form: Kind | None = None
        while True:
            kind, payload = self._child.read_frame()
            try:
                if kind == b"K":
                    form = Kind.told(json.loads(payload))
                    continue
                if kind != b"A" or form is None:
                    break
                block, strange = as_samples(payload, form, self.channels)
            except (KeyError, TypeError, ValueError):
                raise DecoderCrashed("The decoder spoke out of turn.") from None
            frames, nonfinite = frames + len(block), nonfinite + strange
            if frames > most:
                raise _too_long(self._limits)
            yield block
        trailer = self._child.expect(b"T", kind, payload)
        if max(trailer["frames"], start_frame) != frames:
            raise DecoderCrashed("The decoder's count and the samples that came do not agree.")
        self.report = DecodeReport(
            frames=trailer["frames"],
            declared_seconds=self._declared,
            damaged_packets=trailer["damaged"],
            nonfinite_samples=nonfinite,
            downmixed=trailer["downmixed"],
            cut_off=trailer["cut_off"],
        )


def _tags(child: _Child) -> Tags:
    """As the child tells them, but looked through again: its word is the file's."""
    message = child.message(b"M")
    values = {name: text for name in NAMES if (text := clean(str(message["values"].get(name, ""))))}
    if not message["cover"]:
        return Tags(values, None)
    kind, content = child.read_frame()
    media_type = picture_type(content) if kind == b"C" else None
    if media_type is None:
        raise DecoderCrashed("The decoder spoke out of turn.")
    return Tags(values, Cover(media_type, bytes(content)))


class _Child:
    """The decoder's process seen from outside, and the frames it sends."""

    def __init__(self, process: DecoderProcess, limits: DecodeLimits, check: Callable[[], None] | None) -> None:
        self.process = process
        self._check = check
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
                if self._check is not None:
                    self._check()
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


@contextmanager
def _child(
    path: Path, task: str, limits: DecodeLimits, *, followed: bool, check: Callable[[], None] | None = None
) -> Iterator[_Child]:
    if path.stat().st_size == 0:
        raise AudioEmpty("The file is empty.")
    request = {
        "path": str(path.resolve()),
        "task": task,
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
    }
    process = spare.serve(request, followed=followed)
    try:
        yield _Child(process, limits, check)
    finally:
        spare.end(process)


def _too_long(limits: DecodeLimits) -> AudioTooLong:
    return AudioTooLong(f"The song is longer than {limits.seconds:g} seconds.")

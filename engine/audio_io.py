"""Reading songs that nobody vouches for: a child process decodes, this side watches it.

The child (`engine.decoder`) has its own process group, an almost empty environment, resource limits and no
network; here are the wall clock, the cap on decoded seconds and the meaning of its death.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from engine.audio import AudioInfo, Samples
from engine.decoder.metadata import NAMES, clean, picture_type
from engine.decoder.samples import Kind, as_samples
from engine.decoder.spare import spare
from engine.decoder.watched import DecodeLimits, WatchedDecoder
from engine.errors import AudioEmpty, AudioTooLong, DecoderCrashed
from engine.tags import Cover, Tags

__all__ = ["DecodeLimits", "DecodeReport", "Decoding", "Opened", "cool_decoder", "decode", "probe", "warm_decoder"]

GRACE_SECONDS = 1.0
"""Decoders give a little more or less than packets announce (priming, padding); not worth a refusal."""


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
        return _info(child, limits)


class Opened:
    """A song that was probed, and its decoder's process, which waits to decode it: to start another one takes longer
    than to probe. It runs until its context is left, or that of its `decode`.

    Raises what `probe` raises.
    """

    def __init__(self, path: Path, limits: DecodeLimits) -> None:
        self.path, self._limits = path, limits
        with ExitStack() as running:
            self._child = running.enter_context(_child(path, "both", limits, followed=False))
            self.info = _info(self._child, limits)
            self._running = running.pop_all()

    @contextmanager
    def decode(self, check: Callable[[], None] | None = None) -> Iterator[Decoding]:
        """As the function `decode`; once."""
        with self:
            self._child.check = check
            yield Decoding(self._child, self._limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closing it again does nothing."""
        self._running.close()


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

    def __init__(self, child: WatchedDecoder, limits: DecodeLimits) -> None:
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


def _tags(child: WatchedDecoder) -> Tags:
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


@contextmanager
def _child(
    path: Path, task: str, limits: DecodeLimits, *, followed: bool, check: Callable[[], None] | None = None
) -> Iterator[WatchedDecoder]:
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
        yield WatchedDecoder(process, limits, check)
    finally:
        spare.end(process)


def _info(child: WatchedDecoder, limits: DecodeLimits) -> AudioInfo:
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


def _too_long(limits: DecodeLimits) -> AudioTooLong:
    return AudioTooLong(f"The song is longer than {limits.seconds:g} seconds.")

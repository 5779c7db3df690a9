"""A song's first audio stream: opened under the lists of what is read, then demuxed or decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av

from engine.decoder.declared import PCM_BYTES

DEMUXERS = "mp3,wav,w64,flac,ogg,mov,aac,aiff"
"""Formats that FFmpeg may recognise; above all no playlists (concat, hls, dash), which open other files."""
FORMATS_READ = "it is not one of the formats that are read: mp3, wav, flac, ogg, m4a/aac, opus, aiff"
CODECS = ("mp3", "mp3float", "mp2", "mp2float", "flac", "vorbis", "opus", "libopus", "aac", "alac")
OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": DEMUXERS,
    # While it opens a file, FFmpeg would try its decoders on all streams: the cover's, too.
    "codec_whitelist": ",".join((*CODECS, *PCM_BYTES)),
}
BLOCK_SECONDS = 0.5


class Refused(Exception):
    """`kind`: undecodable, empty or hostile."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def opened(path: str) -> Any:
    try:
        return av.open("file:" + path, options=OPTIONS, metadata_errors="ignore")
    except av.error.ArgumentError:  # FFmpeg knows its format, which is not on the list
        raise Refused("undecodable", FORMATS_READ) from None
    except av.error.InvalidDataError:
        raise Refused("undecodable", f"it is damaged, or {FORMATS_READ}") from None
    except av.error.EOFError:
        raise Refused("undecodable", "it ends, or can't be followed, before its sound begins") from None


def check_codec(name: str | None) -> None:
    if name in CODECS or name in PCM_BYTES:
        return
    if name is not None and name.startswith("pcm_"):
        read = "integers of 8 to 32 bits, floats of 32 or 64, A-law and µ-law"
        raise Refused("undecodable", f"its samples are {name}; of uncompressed audio, {read} are read")
    raise Refused("undecodable", f"its codec{f' {name}' if name else ''} is not one that is read")


class Song:
    """One audio stream, read once from its start, with counts of what was met.

    Knows no numpy, which would take as much memory and as long to load as all else in this process.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self.frames = 0
        self.damaged = 0
        self._tick = float(stream.time_base or 0)
        self._summed = self._spanned = 0
        self._start: int | None = None
        self._packets = container.demux(stream)
        self._decoded = self._decode()

    @property
    def seconds(self) -> float:
        """Counted from the packets met so far: their lengths added up (chained streams start their clocks
        again) or the span of their clock (FFmpeg doesn't know the length of every Vorbis packet)."""
        return max(self._summed, self._spanned) * self._tick

    def first_frame(self) -> Any:
        """Also remembered, so that `blocks` begins with it."""
        first = next(self._decoded, None)
        if first is None:
            if self.damaged:
                raise Refused("undecodable", "no part of it decodes")
            raise Refused("empty", "its audio holds no sample")
        self._first = first
        return first

    def skip_to_end(self) -> None:
        for packet in self._undamaged_packets():
            self._count(packet)

    def blocks(self, start: int) -> Iterator[Any]:
        """Frames of about BLOCK_SECONDS from sample `start` on, in the file's own sample format.

        What lies before is decoded and counted, but not given.
        """
        size = max(1, int(self._first.sample_rate * BLOCK_SECONDS))
        before, kind = 0, ("", "")
        fifo = av.AudioFifo()
        for decoded in self._from_first():
            begin, before = before, before + decoded.samples
            if before <= start:
                continue
            # FFmpeg's queue trusts that every frame has the channels and the format of the first.
            found = decoded.layout.name, decoded.format.name
            if found != kind:
                yield from _gathered(fifo)
                fifo, kind = av.AudioFifo(), found
            decoded.pts = None  # gaps are the container's matter
            fifo.write(decoded)
            if begin < start:
                fifo.read(start - begin)
            if fifo.samples >= size:
                yield from _gathered(fifo)
        yield from _gathered(fifo)

    def _from_first(self) -> Iterator[Any]:
        first, self._first = self._first, None
        yield first
        # One of many and long: nothing holds it any more.
        del first
        yield from self._decoded

    def _undamaged_packets(self) -> Iterator[Any]:
        """Until the end, or until the container itself can't be followed any further."""
        try:
            yield from self._packets
        except (av.error.InvalidDataError, av.error.EOFError):
            self.damaged += 1

    def _decode(self) -> Iterator[Any]:
        rate = None
        for packet in self._undamaged_packets():
            self._count(packet)
            try:
                decoded = packet.decode()
            except (av.error.InvalidDataError, av.error.EOFError):
                self.damaged += 1
                continue
            for one in decoded:
                # A song that changes its rate midway ends there: the receipt tells declared from decoded.
                if rate is not None and one.sample_rate != rate:
                    self.damaged += 1
                    return
                if one.samples:
                    rate = one.sample_rate
                    self.frames += one.samples
                    yield one

    def _count(self, packet: Any) -> None:
        if not packet.size:
            return  # The last, empty packet asks the decoder for what it still holds.
        length, start = packet.duration or 0, packet.pts
        self._summed += length
        if start is not None:
            if self._start is None:
                self._start = start
            self._spanned = max(self._spanned, start + length - self._start)


def _gathered(fifo: Any) -> Iterator[Any]:
    frame = fifo.read()
    if frame is not None:
        yield frame

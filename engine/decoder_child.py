"""The process that touches untrusted bytes: `python -I decoder_child.py REQUEST`, stdin and files closed.

REQUEST is JSON: {"path", "task": "probe" | "decode", "cpu_seconds", "memory_bytes"}. It imports nothing of
ours, so that it starts fast and has nothing to leak, and limits itself before it opens the file.

It answers on stdout in frames: one byte of kind, four bytes of length (little endian), then the payload.
    H  JSON: container, codec, rate, channels (of the file), declared_seconds
    A  float32 samples, interleaved, one channel for mono songs and two for all others
    T  JSON, the last frame: frames, seconds (counted from packets), damaged, nonfinite, downmixed
    E  JSON, instead of all that is still missing: kind (undecodable | empty | hostile), reason
"""

from __future__ import annotations

import errno
import json
import os
import resource
import struct
import sys
from collections.abc import Iterator
from typing import Any

import av
import av.audio.stream
import av.subtitles.stream
import av.video.stream
import numpy as np
from numpy.typing import NDArray

# PyAV imports the classes of streams when it meets one; by then the limits leave no memory for it.

DEMUXERS = "mp3,wav,w64,flac,ogg,mov,aac,aiff"
"""Formats that FFmpeg may recognise; above all no playlists (concat, hls, dash), which open other files."""
FORMATS_READ = "it is not one of the formats that are read: mp3, wav, flac, ogg, m4a/aac, opus, aiff"
CODECS = ("mp3", "mp3float", "mp2", "mp2float", "flac", "vorbis", "opus", "libopus", "aac", "alac")
PCM_BYTES = {"pcm_u8": 1, "pcm_s8": 1, "pcm_alaw": 1, "pcm_mulaw": 1, "pcm_s16le": 2, "pcm_s16be": 2}
PCM_BYTES |= {"pcm_s24le": 3, "pcm_s24be": 3, "pcm_s32le": 4, "pcm_s32be": 4}
PCM_BYTES |= {"pcm_f32le": 4, "pcm_f32be": 4, "pcm_f64le": 8, "pcm_f64be": 8}
"""PCM that is read, with the bytes of one sample; PyAV has no arrays of 64-bit integers, for one."""
RATES = range(4_000, 768_001)
"""Far below, a file of a few hundred bytes becomes many minutes at the model's rate."""
CHUNKS_BEFORE_DATA = 64
PLACEHOLDERS = (range(1), range(0x7FFF0000, 0x80000001), range(0xFFFF0000, 0x100000000))
"""What programs that write to a pipe, where no header can be mended, give as the size of their data."""
BLOCK_SECONDS = 0.5
CENTRE = SURROUND = 0.7071
"""ITU-R BS.775: left + 0.7071 centre + 0.7071 left surround, likewise right; the LFE channel is left out."""
LEFT = {"FL": 1.0, "FC": CENTRE, "SL": SURROUND, "BL": SURROUND, "BC": 0.5, "FLC": 1.0, "TFL": SURROUND}
RIGHT = {"FR": 1.0, "FC": CENTRE, "SR": SURROUND, "BR": SURROUND, "BC": 0.5, "FRC": 1.0, "TFR": SURROUND}


class Refused(Exception):
    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def main() -> None:
    request = json.loads(sys.argv[1])
    # Nothing else may write between the frames, whatever FFmpeg or Python think they must say.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    limit(resource.RLIMIT_AS, request["memory_bytes"])
    limit(resource.RLIMIT_CPU, request["cpu_seconds"])
    limit(resource.RLIMIT_FSIZE, 0)
    limit(resource.RLIMIT_NOFILE, 16)
    limit(resource.RLIMIT_CORE, 0)
    try:
        work(request, out)
    except Refused as refused:
        send(out, b"E", {"kind": refused.kind, "reason": str(refused)})
    except MemoryError:
        send(out, b"E", {"kind": "hostile", "reason": "it needs more memory than any honest file"})
    except av.error.FFmpegError as error:
        hostile = error.errno == errno.ENOMEM
        send(out, b"E", {"kind": "hostile" if hostile else "undecodable", "reason": error.strerror or "damaged"})
    except BrokenPipeError:
        pass  # The parent has heard enough.
    except Exception as error:
        # The same bytes would end the same way again: no crash, which would be worth another attempt.
        reason = f"its decoder met something that it can't handle ({type(error).__name__})"
        send(out, b"E", {"kind": "undecodable", "reason": reason})


def limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    # A second between soft and hard: too much CPU must end in SIGXCPU, which tells why, not in SIGKILL.
    spare = 1 if which == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else 0
    resource.setrlimit(which, (value, value + spare))


def work(request: dict[str, Any], out: Any) -> None:
    with opened(request["path"]) as container:
        if not container.streams.audio:
            raise Refused("undecodable", "it holds no audio")
        stream = container.streams.audio[0]
        context = stream.codec_context
        check_codec(None if context is None else context.name)
        # One thread: more would cost memory for each, and the pipeline keeps the other cores busy.
        context.thread_count = 1
        song = Song(container, stream)
        first = song.first_frame()
        if first.sample_rate not in RATES:
            rate = f"sample rate of {first.sample_rate} Hz"
            raise Refused("undecodable", f"its {rate} is not one that music has; 4 kHz to 768 kHz are read")
        declared = stream.duration * stream.time_base if stream.duration and stream.time_base else None
        if declared is None and container.duration:
            declared = container.duration / av.time_base
        size = wav_data_size(request["path"]) if container.format.name == "wav" else None
        if size is not None and context.name in PCM_BYTES:
            # FFmpeg's own figure ends where the file does.
            declared = size / (PCM_BYTES[context.name] * first.layout.nb_channels * first.sample_rate)
        header = {
            "container": container.format.name,
            "codec": context.codec.canonical_name,
            "rate": first.sample_rate,
            "channels": first.layout.nb_channels,
            "declared_seconds": None if declared is None else float(declared),
        }
        send(out, b"H", header)
        if request["task"] == "probe":
            song.skip_to_end()
        else:
            for block in song.blocks():
                frame(out, b"A", np.ascontiguousarray(block).data.cast("B"))
        trailer = {
            "frames": song.frames,
            "seconds": song.seconds or song.frames / first.sample_rate,
            "damaged": song.damaged,
            "nonfinite": song.nonfinite,
            "downmixed": first.layout.nb_channels > 2,
        }
        send(out, b"T", trailer)


def opened(path: str) -> Any:
    options = {"protocol_whitelist": "file,pipe", "format_whitelist": DEMUXERS}
    try:
        return av.open("file:" + path, options=options, metadata_errors="ignore")
    except av.error.ArgumentError:  # FFmpeg knows its format, which is not on the list
        raise Refused("undecodable", FORMATS_READ) from None
    except av.error.InvalidDataError:
        raise Refused("undecodable", f"it is damaged, or {FORMATS_READ}") from None


def check_codec(name: str | None) -> None:
    if name in CODECS or name in PCM_BYTES:
        return
    if name is not None and name.startswith("pcm_"):
        read = "integers of 8 to 32 bits, floats of 32 or 64, A-law and µ-law"
        raise Refused("undecodable", f"its samples are {name}; of uncompressed audio, {read} are read")
    raise Refused("undecodable", f"its codec{f' {name}' if name else ''} is not one that is read")


def wav_data_size(path: str) -> int | None:
    """The bytes of samples that a RIFF header claims, None where it can't know; FFmpeg believes RF64's."""
    with open(path, "rb") as file:
        if struct.unpack("<4s4x4s", file.read(12).ljust(12)) != (b"RIFF", b"WAVE"):
            return None
        for _ in range(CHUNKS_BEFORE_DATA):
            name, size = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
            if name == b"data":
                return None if any(size in sizes for sizes in PLACEHOLDERS) else size
            file.seek(size + size % 2, os.SEEK_CUR)
    return None


class Song:
    """One audio stream, read once from its start, with counts of what was met."""

    def __init__(self, container: Any, stream: Any) -> None:
        self.frames = 0
        self.damaged = 0
        self.nonfinite = 0
        self._summed = self._spanned = 0.0
        self._start: float | None = None
        self._packets = container.demux(stream)
        self._decoded = self._decode()

    @property
    def seconds(self) -> float:
        """Counted from the packets met so far: their lengths added up (chained streams start their clocks
        again) or the span of their clock (FFmpeg doesn't know the length of every Vorbis packet)."""
        return max(self._summed, self._spanned)

    def first_frame(self) -> Any:
        """Also remembered, so that `blocks` begins with it."""
        first = next(self._decoded, None)
        if first is None:
            if self.damaged:
                raise Refused("undecodable", "no part of it decodes")
            raise Refused("empty", "its audio holds no sample")
        self._first = first
        self._channels = 1 if first.layout.nb_channels == 1 else 2
        return first

    def skip_to_end(self) -> None:
        for packet in self._undamaged_packets():
            self._count(packet)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Blocks of about BLOCK_SECONDS, (frames, 1 or 2)."""
        size = max(1, int(self._first.sample_rate * BLOCK_SECONDS))
        pending, waiting = [self._samples(self._first)], self._first.samples
        for decoded in self._decoded:
            pending.append(self._samples(decoded))
            waiting += decoded.samples
            if waiting >= size:
                yield np.concatenate(pending)
                pending, waiting = [], 0
        if pending:
            yield np.concatenate(pending)

    def _undamaged_packets(self) -> Iterator[Any]:
        """Until the end, or until the container itself can't be followed any further."""
        try:
            yield from self._packets
        except (av.error.InvalidDataError, av.error.EOFError):
            self.damaged += 1

    def _decode(self) -> Iterator[Any]:
        for packet in self._undamaged_packets():
            self._count(packet)
            try:
                decoded = packet.decode()
            except (av.error.InvalidDataError, av.error.EOFError):
                self.damaged += 1
                continue
            for one in decoded:
                # A song that changes its rate midway ends there: the receipt tells declared from decoded.
                if self.frames and one.sample_rate != self._first.sample_rate:
                    self.damaged += 1
                    return
                if one.samples:
                    self.frames += one.samples
                    yield one

    def _count(self, packet: Any) -> None:
        if not packet.size or packet.time_base is None:
            return  # The last, empty packet asks the decoder for what it still holds.
        length = float(packet.duration * packet.time_base) if packet.duration else 0.0
        self._summed += length
        if packet.pts is not None:
            start = float(packet.pts * packet.time_base)
            self._start = start if self._start is None else self._start
            self._spanned = max(self._spanned, start + length - self._start)

    def _samples(self, decoded: Any) -> NDArray[np.float32]:
        """One decoded frame as (frames, 1 or 2), finite."""
        samples = as_float(decoded)
        if samples.shape[1] != self._channels:
            samples = remix(samples, [channel.name for channel in decoded.layout.channels], self._channels)
        finite = np.isfinite(samples)
        if not finite.all():
            self.nonfinite += samples.size - int(finite.sum())
            samples = np.where(finite, samples, np.float32(0))
        return samples


def as_float(decoded: Any) -> NDArray[np.float32]:
    """A frame of any sample format as (frames, channels), full scale = 1.0."""
    values: NDArray[Any] = decoded.to_ndarray()
    channels = decoded.layout.nb_channels
    values = values.T if decoded.format.is_planar else values.reshape(-1, channels)
    samples: NDArray[np.float32] = values.astype(np.float32)
    if values.dtype == np.uint8:
        return (samples - np.float32(128)) / np.float32(128)
    if values.dtype.kind == "i":
        return samples / np.float32(2.0 ** (8 * values.dtype.itemsize - 1))
    return samples


def remix(samples: NDArray[np.float32], names: list[str], channels: int) -> NDArray[np.float32]:
    if channels == 1:
        middle: NDArray[np.float32] = samples.mean(axis=1, keepdims=True, dtype=np.float32)
        return middle
    if samples.shape[1] == 1:
        return np.repeat(samples, 2, axis=1)
    matrix = np.array([[side.get(name, 0.0) for side in (LEFT, RIGHT)] for name in names], np.float32)
    if not matrix.any(axis=0).all():
        # Channels without places (a plain many-track file): the first two are the song.
        return samples[:, :2]
    mixed: NDArray[np.float32] = samples @ matrix
    return mixed


def send(out: Any, kind: bytes, message: dict[str, Any]) -> None:
    frame(out, kind, memoryview(json.dumps(message).encode()))


def frame(out: Any, kind: bytes, payload: memoryview) -> None:
    for part in (memoryview(kind + struct.pack("<I", len(payload))), payload):
        while part:
            part = part[out.write(part) :]


if __name__ == "__main__":
    main()

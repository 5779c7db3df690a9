"""The process that touches untrusted bytes. It limits itself before it opens the file, serves one song, ends.

It reads lines of JSON on stdin, and ends when stdin does:
    {"path", "task": "probe" | "decode" | "both", "cpu_seconds", "memory_bytes"}
    {"start_frame"}     after H and M, for `decode`: samples before it are not sent
It answers on stdout in frames: one byte of kind, four bytes of length (little endian), then the payload.
`both` is `probe`, then `decode`, with the answers of each.
    H  JSON: container, codec, rate, channels (of the file), declared_seconds
    M  JSON, for `decode`: values (the file's words about the song), cover (whether C follows)
    C  the picture's bytes
    K  JSON, before the first A and where it changes: format (FFmpeg's name), channels (how many), names (of theirs)
    A  samples in that format: plane after plane, or interleaved
    T  JSON, a task's last frame: frames, seconds (counted from packets), damaged, downmixed, cut_off
    E  JSON, instead of all that is still missing: kind (undecodable | empty | hostile), reason
"""

from __future__ import annotations

import errno
import json
import os
import resource
import struct
import sys
from typing import Any, Literal

import av
import av.audio.stream
import av.subtitles.stream
import av.video.stream
from av.stream import Disposition

from engine.decoder.declared import PCM_BYTES, data_size, is_cut_off
from engine.decoder.metadata import read_cover, read_values
from engine.decoder.sandbox import confine, die_with, limit
from engine.decoder.song import Refused, Song, check_codec, opened

# PyAV imports the classes of streams when it meets one; by then the limits leave no memory for it.

STDIN = 0
RATES = range(4_000, 768_001)
"""Far below, a file of a few hundred bytes becomes many minutes at the model's rate."""


def main() -> None:
    # Nothing else may write between the frames, whatever FFmpeg or Python think they must say.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    confine()
    line = sys.stdin.buffer.readline()
    if not line:
        return
    request = json.loads(line)
    limit(resource.RLIMIT_AS, request["memory_bytes"])
    limit(resource.RLIMIT_CPU, request["cpu_seconds"])
    try:
        if request["task"] != "decode":
            work(request["path"], "probe", out, last=request["task"] == "probe")
        if request["task"] != "probe":
            work(request["path"], "decode", out)
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


def work(path: str, task: Literal["probe", "decode"], out: Any, last: bool = True) -> None:
    with opened(path) as container:
        if not container.streams.audio:
            raise Refused("undecodable", "it holds no audio")
        stream = container.streams.audio[0]
        context = stream.codec_context
        check_codec(None if context is None else context.name)
        # One thread: more would cost memory for each, and the pipeline keeps the other cores busy.
        context.thread_count = 1
        song = Song(container, stream)
        first = song.first_frame()
        rate, channels = first.sample_rate, first.layout.nb_channels
        del first
        if rate not in RATES:
            reason = f"its sample rate of {rate} Hz is not one that music has; 4 kHz to 768 kHz are read"
            raise Refused("undecodable", reason)
        header = {
            "container": container.format.name,
            "codec": context.codec.canonical_name,
            "rate": rate,
            "channels": channels,
            "declared_seconds": declared_seconds(path, container, stream, rate * channels),
        }
        send(out, b"H", header)
        if task == "probe":
            if last:  # else there is more to be said through that pipe, and the next answer meets a closed one
                die_with(STDIN)
            song.skip_to_end()
        else:
            tell_metadata(path, container, stream, out)
            line = sys.stdin.buffer.readline()
            if not line:
                return
            die_with(STDIN)
            tell_samples(song, json.loads(line)["start_frame"], out)
        trailer = {
            "frames": song.frames,
            "seconds": song.seconds or song.frames / rate,
            "damaged": song.damaged,
            "downmixed": channels > 2,
            "cut_off": is_cut_off(path, container.format.name),
        }
        send(out, b"T", trailer)


def declared_seconds(path: str, container: Any, stream: Any, samples_a_second: int) -> float | None:
    size = data_size(path, container.format.name)
    if size is not None and stream.codec_context.name in PCM_BYTES:
        return size / (PCM_BYTES[stream.codec_context.name] * samples_a_second)
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return float(container.duration / av.time_base) if container.duration else None


def tell_metadata(path: str, container: Any, stream: Any, out: Any) -> None:
    cover = None
    if any(video.disposition & Disposition.attached_pic for video in container.streams.video):
        # Opened a second time: the song's own packets must not be read on the way to the picture.
        with opened(path) as again:
            cover = read_cover(again, Disposition.attached_pic)
    send(out, b"M", {"values": read_values(container, stream), "cover": cover is not None})
    if cover is not None:
        frame(out, b"C", memoryview(cover))


def tell_samples(song: Song, start: int, out: Any) -> None:
    told = None
    for block in song.blocks(start):
        layout, form = block.layout, block.format
        kind = {
            "format": form.name,
            "channels": layout.nb_channels,
            "names": [channel.name for channel in layout.channels],
        }
        if kind != told:
            send(out, b"K", kind)
            told = kind
        # FFmpeg's planes are longer than what they hold.
        size = block.samples * form.bytes * (1 if form.is_planar else layout.nb_channels)
        frame(out, b"A", *(memoryview(plane).cast("B")[:size] for plane in block.planes))


def send(out: Any, kind: bytes, message: dict[str, Any]) -> None:
    frame(out, kind, memoryview(json.dumps(message).encode()))


def frame(out: Any, kind: bytes, *payload: memoryview) -> None:
    for part in (memoryview(kind + struct.pack("<I", sum(map(len, payload)))), *payload):
        while part:
            part = part[out.write(part) :]

"""MP3 (LAME) and M4A (AAC), by FFmpeg's libraries in PyAV."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.fifo import AudioFifo
from av.stream import Disposition

from engine.encoders.base import Block, OutputFile
from engine.encoders.tagged_files import Mp3File
from engine.encoders.tagging import mp4_values, writable
from engine.formats import OutputFormat
from engine.tags import Cover, Tags

CODECS = {"mp3": "libmp3lame", "m4a": "aac"}
MUXERS = {"mp3": "mp3", "m4a": "mp4"}
PICTURES = {"image/jpeg": "mjpeg", "image/png": "png"}


class FFmpegEncoder:
    """Gapless: the header of LAME or the edit list says where the samples begin and how many they are.

    Players that heed them give the same number of samples. FFmpeg itself does for MP3; of M4A it plays the
    last packet to its end, so it gives up to 1023 zeros or so more.
    """

    def __init__(self, path: Path, format: OutputFormat, rate: int, channels: int, tags: Tags | None) -> None:
        self._format, self._rate = format, rate
        self._layout = "mono" if channels == 1 else "stereo"
        if format.container == "mp3":
            self._file: OutputFile = Mp3File(path, writable(tags))
            options = {"id3v2_version": "0"}
        else:
            self._file = OutputFile(path)
            # Edit lists count in the movie's own clock, which is one of milliseconds unless it is told otherwise.
            # The brand is iTunes'; its own muxer in FFmpeg takes no stream of a cover.
            options = {"movie_timescale": str(rate), "brand": "M4A "}
        self._container: Any = av.open(self._file, "w", format=MUXERS[format.container], options=options)
        try:
            self._stream: Any = self._add_stream()
            self._stream.codec_context.open()
            if format.container == "m4a":
                self._add_tags(writable(tags))
        except BaseException:
            self.abort()
            raise
        self._waiting = AudioFifo()
        self._written = 0

    def write(self, block: Block) -> None:
        if not len(block):
            return
        planes = np.ascontiguousarray(block.T, np.float32)
        frame = av.AudioFrame.from_ndarray(planes, "fltp", self._layout)
        frame.sample_rate = self._rate
        self._waiting.write(frame)
        for whole in self._waiting.read_many(self._stream.codec_context.frame_size):
            self._encode(whole)

    def finish(self) -> None:
        last = self._waiting.read(0, partial=True)
        if last is not None:
            self._encode(last)
        self._mux(self._stream.encode(None))
        self._container.close()
        self._file.check()
        self._file.close()

    def abort(self) -> None:
        self._file.drop()
        with suppress(av.error.FFmpegError, ValueError):
            self._container.close()
        self._file.close()

    def _add_stream(self) -> Any:
        format, channels = self._format, 1 if self._layout == "mono" else 2
        options = {"rate": self._rate, "layout": self._layout, "format": "fltp"}
        stream: Any = self._container.add_stream(CODECS[format.container], **options)
        stream.bit_rate = 1000 * (format.bit_rate_for(self._rate, channels) or 0)
        return stream

    def _add_tags(self, tags: Tags) -> None:
        self._container.metadata.update(mp4_values(tags))
        if tags.cover is not None:
            self._add_cover(tags.cover)

    def _add_cover(self, cover: Cover) -> None:
        """Its bytes as they are: an MP4 has no size of it to say, but the muxer insists on one."""
        picture: Any = self._container.add_mux_stream(PICTURES[cover.media_type], width=1, height=1)
        picture.disposition = Disposition.attached_pic
        packet = av.Packet(cover.data)
        packet.stream, packet.pts, packet.dts = picture, 0, 0
        self._mux(packet)

    def _encode(self, frame: Any) -> None:
        frame.pts, frame.time_base = self._written, Fraction(1, self._rate)
        self._written += frame.samples
        self._mux(self._stream.encode(frame))

    def _mux(self, packets: Any) -> None:
        self._container.mux(packets)
        self._file.check()

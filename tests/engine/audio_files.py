"""Audio files made and read without the engine."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from engine.audio import Samples


def decode_here(path: Path) -> tuple[Samples, int]:
    """PyAV in this process: an independent count of what a file decodes to, (frames, channels) and rate."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        parts = []
        for frame in container.decode(audio=0):
            values = frame.to_ndarray()
            channels = frame.layout.nb_channels
            parts.append(values.T if frame.format.is_planar else values.reshape(-1, channels))
    return np.concatenate(parts), rate


def encode(path: Path, samples: Samples, rate: int, codec: str, layout: str = "stereo", **options: str) -> Path:
    """Encode (frames, channels) at `rate` into `path`, whose ending picks the container; returns it.

    `options` are the encoder's own.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        stream.codec_context.options = options
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), "fltp", layout)
        frame.sample_rate = rate
        stream.codec_context.open()
        resampler = av.AudioResampler(stream.format, layout, rate, frame_size=stream.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path

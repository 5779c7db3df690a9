"""Songs to measure with: MP3 files of any length, made once, the same bytes' worth of work in each second."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from engine.audio import Samples

RATE = 44100
FRAME = 1152
LOOP_FRAMES = 2304
"""MP3 frames that are repeated: a minute, and a length that Fourier transforms like."""
KILOBITS = 192


def write_song(path: Path, seconds: float) -> Path:
    """An MP3 of `seconds`, rounded up to a whole MP3 frame; a song that is there already is kept.

    A minute is coded once and its frames are repeated, so that ten hours cost no more than a copy: an
    encoder's first frame leans on none before it.
    """
    if not path.exists():
        packets = _coded_minute()
        count = -int(-seconds * RATE // FRAME)
        whole, rest = divmod(count, len(packets))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        minute = b"".join(packets)
        with partial.open("wb") as out:
            for _ in range(whole):
                out.write(minute)
            out.write(b"".join(packets[:rest]))
        partial.replace(path)
    return path


def _coded_minute() -> list[bytes]:
    """The first LOOP_FRAMES frames, without the header frame in which a file would say its length."""
    encoder = av.AudioCodecContext.create("libmp3lame", "w")
    encoder.rate, encoder.layout, encoder.format = RATE, "stereo", "fltp"
    encoder.bit_rate, encoder.time_base = KILOBITS * 1000, Fraction(1, RATE)
    packets = []
    for block in np.split(minute_of_music(), LOOP_FRAMES):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block.T), "fltp", "stereo")
        frame.rate = RATE
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    packets += [bytes(packet) for packet in encoder.encode(None)]
    return packets[:LOOP_FRAMES]


def minute_of_music() -> Samples:
    """(frames, 2): a rhythm of chords over noise that falls with frequency; nothing is drawn at random twice."""
    time = np.arange(LOOP_FRAMES * FRAME) / RATE
    rng = np.random.default_rng(11)
    spectrum = np.fft.rfft(rng.standard_normal((2, len(time))), axis=1)
    spectrum /= np.sqrt(np.maximum(np.arange(spectrum.shape[1]), 200.0))
    noise = np.fft.irfft(spectrum, n=len(time), axis=1)
    noise *= 0.1 / noise.std()
    beat = 0.2 + np.exp(-6 * (time % 0.5))
    chord = np.zeros_like(time)
    for phase, pitch in enumerate((110.0, 220.5, 277.2, 329.6, 1318.5)):
        chord += np.sin(2 * np.pi * pitch * time + phase)
    song = noise * beat + 0.06 * np.stack([chord, np.roll(chord, 441)]) * beat[::-1]
    return np.ascontiguousarray(song.T, np.float32)

"""Notes → sound by fluidsynth: all instruments in one MIDI file, one after the other, cut apart afterwards."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from training.synthesis import programs
from training.synthesis.sound import RATE, SECONDS, Random, Stereo, fitted

DRUMS = 9
"""General MIDI's channel of drum kits."""
BEND_SEMITONES = 12
GAP = 2.0
"""Seconds between two instruments, for the first one's notes to fade."""
FONT_WEIGHTS = (0.4, 0.2, 0.4)


class Track:
    """One instrument's events, as (seconds, bytes)."""

    def __init__(self, program: int = 0, channel: int = 0) -> None:
        self.channel = channel
        self.events: list[tuple[float, bytes]] = [(0.0, bytes([0xC0 | channel, program]))]
        # Registered parameter 0: how far the wheel bends.
        for number, value in ((101, 0), (100, 0), (6, BEND_SEMITONES)):
            self.control(number, value)

    def control(self, number: int, value: int, time: float = 0.0) -> None:
        self.events.append((time, bytes([0xB0 | self.channel, number, max(0, min(127, value))])))

    def note(self, start: float, seconds: float, pitch: float, velocity: float) -> None:
        """Out of MIDI's range or beyond the clip: nothing."""
        if 0 <= pitch < 128 and start < SECONDS - 0.05:
            loudness = int(np.clip(velocity, 1, 127))
            self.events.append((start, bytes([0x90 | self.channel, int(pitch), loudness])))
            self.events.append((min(start + seconds, SECONDS), bytes([0x80 | self.channel, int(pitch), 0])))

    def bend(self, time: float, semitones: float) -> None:
        if time < SECONDS:
            value = int(np.clip(8192 + semitones / BEND_SEMITONES * 8192, 0, 16383))
            self.events.append((time, bytes([0xE0 | self.channel, value & 127, value >> 7])))


def render(tracks: Sequence[Track], random: Random, folder: Path) -> list[Stereo]:
    """(2, LENGTH) a track, by one random sound font. Raises ProgramFailed."""
    events: list[tuple[float, bytes]] = []
    for number, track in enumerate(tracks):
        begin = number * (SECONDS + GAP)
        events += [(begin + time, event) for time, event in track.events]
        for channel in {0, DRUMS}:
            # All notes off and the wheel back, for the next instrument.
            events.append((begin + SECONDS, bytes([0xB0 | channel, 123, 0])))
            events.append((begin + SECONDS + 0.01, bytes([0xE0 | channel, 0, 64])))
    written, score = folder / "render.wav", folder / "render.mid"
    score.write_bytes(_file(events))
    font = programs.FONT_FOLDER / str(random.choice(list(programs.FONTS), p=FONT_WEIGHTS))
    rooms = "yes" if random.random() < 0.5 else "no"
    options = ["-ni", "-q", "-T", "wav", "-O", "s16", "-r", "44100", "-g", "0.5"]
    switches = {"reverb.active": rooms, "chorus.active": rooms, "cpu-cores": "1", "dynamic-sample-loading": "1"}
    for name, value in switches.items():
        options += ["-o", f"synth.{name}={value}"]
    programs.run(["fluidsynth", *options, "-F", written, font, score], seconds=200)
    sound, _ = soundfile.read(written, dtype="float32", always_2d=True)
    cut = []
    for number in range(len(tracks)):
        begin = int(number * (SECONDS + GAP) * 2 * RATE)
        part = sound[begin : begin + int(SECONDS * 2 * RATE)].T
        cut.append(fitted(np.asarray(resample_poly(part, 1, 2, axis=1), np.float64)))
    return cut


def _file(events: list[tuple[float, bytes]]) -> bytes:
    """A MIDI file of one track, a tick a millisecond."""
    body, now = b"\x00\xff\x51\x03" + struct.pack(">I", 500_000)[1:], 0
    for time, event in sorted(events, key=lambda each: each[0]):
        tick = max(now, round(time * 1000))
        body += _length(tick - now) + event
        now = tick
    body += b"\x00\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 500) + b"MTrk" + struct.pack(">I", len(body)) + body


def _length(number: int) -> bytes:
    """MIDI's numbers: seven bits a byte, the highest bit set on all but the last."""
    digits = [number & 127]
    while number := number >> 7:
        digits.append((number & 127) | 128)
    return bytes(reversed(digits))

"""Pairs of voice and accompaniment, mixed as they are asked for, no two alike.

Example k of a run is drawn from the seed (run, k) alone, so a run that was stopped goes on with the same examples.
Sound is (2, samples) float32 at 22.05 kHz; equalisers are gains per bin, (1024,), for whoever has the spectra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.pools import Pool
from training.synthesis.sound import RATE, Random

SIZE, HOP, BINS = 2048, 512, 1024
"""Of the spectra: the product's at 44.1 kHz have 4096 and 1024, the same bins below 11 kHz and the same frames."""
HERTZ = (np.arange(BINS) * RATE / SIZE).astype(np.float32)
HELD_OUT_SHARE = 0.5
"""Of the song that is left out, in validation."""
Wave = NDArray[np.float32]
Curve = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Mixing:
    """How probable each thing is, and how strong."""

    weights: Mapping[str, float] = field(
        default_factory=lambda: {
            "vocals": 0.93,
            "choir": 0.07,
            "song": 0.25,
            "electronic": 0.1,
            "sparse": 0.15,
            "leads": 0.15,
            "recorded": 0.35,
        }
    )
    real_voice: float = 0.45
    real_band: float = 0.4
    """How often a side is real stems, where their pool is there; else by `weights` of the synthetic kinds."""
    real_whole: float = 0.7
    """How often these are all of a song's voices, or its whole band, as they were mixed; else some, at any levels."""
    left_out: str | None = None
    """A song whose stems nothing is learnt from: half of the validation's voices and bands are its."""
    shifted: float = 0.6
    semitones: float = 3.0
    second_band: float = 0.15
    second_voice: float = 0.08
    mono_song: float = 0.2
    mono_voice: float = 0.4
    """Synthetic ones in the middle, where singers stand as a rule; others are as wide as they were made, or change with
    `wider`. Real stems are where they were mixed, or with `mono_real` in the middle."""
    mono_real: float = 0.1
    mono_band: float = 0.08
    wider: float = 0.3
    spread_band: float = 0.25
    """How often a synthetic band gets sides that it did not have, as a room or two microphones give them."""
    no_voice: float = 0.09
    no_band: float = 0.04
    voice_pauses: float = 0.3
    band_pauses: float = 0.08
    voice_db: tuple[float, float, float, float] = (-1.5, 5.5, -16.0, 12.0)
    """Mean, deviation, least, most."""
    level_db: float = 4.0
    """Deviation of the level at which the network hears a piece: a song's quiet passages are far below its RMS."""


@dataclass(frozen=True, slots=True)
class Example:
    """Voice and band, and what shall be done to their spectra. Their sum is what the network hears."""

    voice: Wave
    band: Wave
    voice_gains: Curve
    band_gains: Curve
    level: float
    """Factor of what the network hears, against RMS 1."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples stacked: (batch, 2, samples), (batch, 1024) and (batch,)."""

    voice: Wave
    band: Wave
    voice_gains: Curve
    band_gains: Curve
    level: Wave


def stacked(examples: Sequence[Example]) -> Batch:
    return Batch(
        np.stack([example.voice for example in examples]),
        np.stack([example.band for example in examples]),
        np.stack([example.voice_gains for example in examples]),
        np.stack([example.band_gains for example in examples]),
        np.array([example.level for example in examples], np.float32),
    )


class Mixer:
    """`frames` spectra an example. For validation only: one clip in `hold_out` of each synthetic kind, and the stems of
    the song that is left out.
    """

    def __init__(
        self, pools: Mapping[str, Pool], frames: int, mixing: Mixing | None = None, hold_out: int = 40
    ) -> None:
        self.mixing = mixing or Mixing()
        self.samples = (frames - 1) * HOP
        self._pools = pools
        self._hold_out = hold_out
        self._kinds = {
            side: [kind for kind, pool in pools.items() if pool.side == side and kind in self.mixing.weights]
            for side in ("voice", "band")
        }
        for side, kinds in self._kinds.items():
            if not kinds:
                raise ValueError(f"There is no pool for the {side}: python -m training pools makes them.")
        windows = _by_window(pools["real"]) if "real" in pools else {}
        out = self.mixing.left_out
        if out is not None and out not in {song for song, _ in windows}:
            raise ValueError(f"There is no song {out} among the real stems: {sorted({song for song, _ in windows})}.")
        self._real = {
            (side, held_out): [
                stems[side] for (song, _), stems in windows.items() if stems[side] and (song == out) == held_out
            ]
            for side in ("voice", "band")
            for held_out in (False, True)
        }

    def batch(self, seed: int, step: int, size: int, *, held_out: bool = False) -> Batch:
        """Batch `step` of run `seed`: always the same."""
        numbers = range(step * size, (step + 1) * size)
        seeds = [np.random.default_rng([seed, int(held_out), number]) for number in numbers]
        return stacked([self.example(random, held_out=held_out) for random in seeds])

    def example(self, random: Random, *, held_out: bool = False) -> Example:
        mixing = self.mixing
        speed = 2 ** (random.uniform(-mixing.semitones, mixing.semitones) / 12)
        speed = speed if random.random() < mixing.shifted else 1.0
        voice = self._side(random, "voice", speed, held_out)
        if random.random() < mixing.second_voice:
            voice = voice + self._side(random, "voice", speed, held_out) * np.float32(random.uniform(0.2, 1))
        band = self._side(random, "band", speed, held_out)
        if random.random() < mixing.second_band:
            band = np.float32(0.7) * (
                band + self._side(random, "band", speed, held_out) * np.float32(random.uniform(0.3, 1))
            )
        if random.random() < mixing.mono_song:
            voice, band = mono(voice), mono(band)
        mean, deviation, least, most = mixing.voice_db
        gain = 10 ** (float(np.clip(random.normal(mean, deviation), least, most)) / 20)
        if random.random() < mixing.voice_pauses:
            voice = voice * pauses(random, self.samples)
        if random.random() < mixing.band_pauses:
            band = band * pauses(random, self.samples)
        silence = random.random()
        if silence < mixing.no_voice:
            gain = 0.0
        elif silence < mixing.no_voice + mixing.no_band:
            band = band * np.float32(1e-3)
        both = equaliser(random, 2)
        voice_gains = equaliser(random, 3.5) * both * shelf(random.uniform(250, 600), random.normal(4, 4.5))
        # Real voices hiss more than synthesised ones, so some of these do too.
        voice_gains = voice_gains * shelf(random.uniform(3500, 6000), -max(0, random.normal(0, 4)))
        band_gains = equaliser(random, 3) * both * shelf(random.uniform(100, 220), random.normal(5, 5))
        level = 10 ** (float(np.clip(random.normal(0, mixing.level_db), -18, 8)) / 20)
        return Example(voice * np.float32(gain), band, voice_gains, band_gains, level)

    def _side(self, random: Random, side: str, speed: float, held_out: bool) -> Wave:
        mixing = self.mixing
        share = mixing.real_voice if side == "voice" else mixing.real_band
        if self._real[side, held_out] and random.random() < (HELD_OUT_SHARE if held_out else share):
            return placed(random, self._real_side(random, side, speed, held_out), mixing.mono_real, 0)
        kinds = self._kinds[side]
        weights = np.array([mixing.weights[kind] for kind in kinds])
        pool = self._pools[kinds[int(random.choice(len(kinds), p=weights / weights.sum()))]]
        sound = self._cut(random, pool, self._number(random, pool, held_out), speed)
        if side == "voice":
            return placed(random, sound, mixing.mono_voice, mixing.wider)
        if random.random() < mixing.spread_band:
            sound = spread(random, sound)
        return placed(random, sound, mixing.mono_band, mixing.wider)

    def _number(self, random: Random, pool: Pool, held_out: bool) -> int:
        """The first clips are held out, at least one."""
        kept = max(1, len(pool) // self._hold_out)
        return int(random.integers(kept)) if held_out or len(pool) == kept else int(random.integers(kept, len(pool)))

    def _real_side(self, random: Random, side: str, speed: float, held_out: bool) -> Wave:
        """What sounds in one window of a song, whole or some of its stems at levels of their own; RMS 0.08 together."""
        pool = self._pools["real"]
        windows = self._real[side, held_out]
        chosen, decibels = windows[int(random.integers(len(windows)))], 0.0
        if random.random() >= self.mixing.real_whole:
            share, decibels = random.uniform(0.3, 1), 3.0
            some = [stem for stem in chosen if random.random() < share]
            chosen = some or [chosen[int(random.integers(len(chosen)))]]
        offset = random.random()
        total = np.zeros((2, self.samples), np.float32)
        for stem in chosen:
            total += self._cut(random, pool, stem, speed, offset) * np.float32(10 ** (random.normal(0, decibels) / 20))
        loudness = float(np.sqrt(np.mean(np.square(total))))
        return total * np.float32(min(0.08 / (loudness + 1e-9), 30.0))

    def _cut(self, random: Random, pool: Pool, number: int, speed: float, offset: float | None = None) -> Wave:
        """A piece of one clip, played at `speed`: pitch and tempo rise together."""
        clip = pool.samples[number]
        needed = int(self.samples * speed) + 4
        start = int((random.random() if offset is None else offset) * (clip.shape[1] - needed))
        piece = clip[:, start : start + needed].astype(np.float32) / np.float32(32768)
        return piece[:, 1 : 1 + self.samples] if speed == 1 else resampled(piece, speed, self.samples)


def resampled(piece: Wave, speed: float, samples: int) -> Wave:
    """Values at 1 + k · speed, by cubic Hermite interpolation (Catmull-Rom) between the four nearest."""
    place = 1 + np.arange(samples) * speed
    left = place.astype(np.int64)
    t = (place - left).astype(np.float32)
    before, here, there, after = piece[:, left - 1], piece[:, left], piece[:, left + 1], piece[:, left + 2]
    rise = np.float32(0.5) * (there - before)
    bend = before - np.float32(2.5) * here + 2 * there - np.float32(0.5) * after
    twist = np.float32(0.5) * (after - before) + np.float32(1.5) * (here - there)
    cut: Wave = ((twist * t + bend) * t + rise) * t + here
    return cut


def mono(sound: Wave) -> Wave:
    return np.repeat(sound.mean(0, keepdims=True), 2, 0)


def spread(random: Random, sound: Wave) -> Wave:
    """Left and right get apart: the middle, delayed by 5 to 30 ms, is added to one side and taken from the other (H.
    Lauridsen's pseudo-stereo, 1954). Played in mono, nothing has changed."""
    delay = int(random.uniform(0.005, 0.03) * RATE)
    side = sound.mean(0) * np.float32(random.uniform(0.2, 1))
    side = np.concatenate([np.zeros(delay, np.float32), side[:-delay]])
    return np.stack([sound[0] + side, sound[1] - side])


def placed(random: Random, sound: Wave, mono_share: float, wider_share: float) -> Wave:
    """Sides swapped or not, mono, wider or narrower, upside down or not."""
    if random.random() < 0.5:
        sound = sound[::-1]
    if random.random() < mono_share:
        sound = mono(sound)
    elif random.random() < wider_share:
        middle, side = (sound[0] + sound[1]) / 2, (sound[0] - sound[1]) / 2 * np.float32(random.uniform(0, 1.6))
        sound = np.stack([middle + side, middle - side])
    return sound if random.random() < 0.5 else -sound


def pauses(random: Random, samples: int) -> Wave:
    """(samples,) of 1, with one or two stretches of 0 between 0.4 s and half of it, faded over 20 ms."""
    curve = np.ones(samples, np.float32)
    for _ in range(int(random.integers(1, 3))):
        length = int(random.uniform(min(0.4 * RATE, samples / 4), samples / 2))
        start = int(random.integers(-length // 2, samples - length // 2))
        curve[max(0, start) : max(0, start + length)] = 0
    fade = min(int(0.02 * RATE), samples // 8)
    summed = np.cumsum(np.pad(curve, (fade, fade), mode="edge"), dtype=np.float64)
    means = (summed[fade:] - summed[:-fade]) / fade
    return means[fade // 2 : fade // 2 + samples].astype(np.float32)


def equaliser(random: Random, deviation_db: float) -> Curve:
    """Gains per bin, even on a logarithmic axis; one in eight falls away above a random bin, as old recordings do."""
    points = np.clip(random.normal(0, deviation_db, 9), -12, 12)
    place = np.log2(np.arange(BINS) + 8)
    curve = np.interp(place, np.linspace(place[0], place[-1], 9), points)
    if random.random() < 0.12:
        edge = int(random.uniform(400, 1000))
        curve[edge:] -= np.minimum(60, np.arange(BINS - edge) * 0.8)
    return (10 ** (curve / 20)).astype(np.float32)


def shelf(hertz: float, gain_db: float) -> Curve:
    """Gains per bin: `gain_db` below `hertz`, 0 dB well above."""
    return (10 ** (gain_db / 20 / (1 + (HERTZ / np.float32(hertz)) ** 4))).astype(np.float32)


def _by_window(pool: Pool) -> dict[tuple[str, int], dict[str, list[int]]]:
    """(song, window) → the clips of voice and of band in it."""
    windows: dict[tuple[str, int], dict[str, list[int]]] = {}
    for number, clip in enumerate(pool.clips):
        sides = windows.setdefault((clip["song"], clip["window"]), {"voice": [], "band": []})
        sides["band" if clip["role"] == "band" else "voice"].append(number)
    return windows

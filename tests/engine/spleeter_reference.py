"""Spleeter itself as a reference for many songs: one child process for each number of stems."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

from engine.audio import Samples
from tests.engine.spleeter_cases import CATALOG, song, spleeter_python

CHILD = Path(__file__).with_name("spleeter_reference_child.py")
RATE = 44100


@dataclass(frozen=True, slots=True)
class Song:
    name: str
    frames: int
    rate: int = RATE
    channels: int = 2
    gain: float = 1.0

    def samples(self) -> Samples:
        """(frames, channels) at `rate`."""
        return song(self.frames, seed=3, gain=self.gain)[:, : self.channels]


SONGS = (
    Song("two_patches", 13 * RATE + 77),
    Song("not_a_multiple_of_the_hop", 50_001),
    Song("shorter_than_a_frame", 3_000),
    Song("silence", 50_000, gain=0.0),
    Song("beyond_full_scale", 60_000, gain=3.0),
    Song("mono", 50_000, channels=1),
    Song("8_kHz", 12_000, rate=8000),
    Song("48_kHz", 60_000, rate=48_000),
)
"""All but the first are shorter than a patch, 11.9 s."""


@dataclass(frozen=True, slots=True)
class Run:
    """One of Spleeter's configurations, and which of SONGS it separates."""

    model: str
    extension: str
    songs: tuple[int, ...]
    alone: bool = False
    """Through `Separator.separate_to_file`, which builds the network anew for every song."""

    @property
    def chosen(self) -> list[Song]:
        return [SONGS[index] for index in self.songs]

    @property
    def name(self) -> str:
        return f"{self.model.replace(':', '_')}_{self.extension}{'_alone' if self.alone else ''}"


class Reference:
    """What the child left in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._heard = np.load(folder / "songs.npz")

    def heard(self, song: Song) -> Samples:
        """The song as Spleeter's loader gave it, (frames, channels) at 44.1 kHz."""
        samples: Samples = self._heard[song.name]
        return samples

    def samples(self, run: Run, song: Song) -> Mapping[str, Samples]:
        """Each stem before it was saved, (frames, 2)."""
        with np.load(self._folder / f"{run.name}.npz") as results:
            return {stem: results[f"{song.name}/{stem}"] for stem in CATALOG[run.model].stems}

    def file(self, run: Run, song: Song, stem: str) -> Path:
        return self._folder / run.name / song.name / f"{stem}.wav"


def run_spleeter(weights: Path, runs: Sequence[Run], folder: Path) -> Reference:
    """Let Spleeter separate the songs of every run in one process; all runs have the stems of `weights`."""
    songs = [_write(song, folder) for song in SONGS]
    task: dict[str, Any] = {"weights": str(weights), "songs": [str(path) for path in songs], "output": str(folder)}
    task["runs"] = [
        {
            "name": run.name,
            "stems": CATALOG[run.model].stems,
            "bins": CATALOG[run.model].bins,
            "extension": run.extension,
            "songs": run.songs,
            "alone": run.alone,
        }
        for run in runs
    ]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    child = subprocess.run(
        [spleeter_python(), "-I", "-B", CHILD, json.dumps(task)],
        env=os.environ | quiet,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    return Reference(folder)


def _write(song: Song, folder: Path) -> Path:
    """The song as a WAV file, and beside it what ffmpeg would make of it at 44.1 kHz, for a Spleeter that
    has no ffmpeg: the same libraries with the same defaults."""
    path = folder / f"{song.name}.wav"
    soundfile.write(path, song.samples(), song.rate, "FLOAT")
    layout = "mono" if song.channels == 1 else "stereo"
    resampler = av.AudioResampler("flt", layout, RATE)
    parts = []
    with av.open(str(path)) as container:
        for frame in (*container.decode(audio=0), None):
            parts += [piece.to_ndarray().reshape(-1, song.channels) for piece in resampler.resample(frame)]
    np.save(f"{path}.npy", np.concatenate(parts))
    return path

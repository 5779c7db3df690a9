"""A pool of real stems: the CC0 songs of `stems_train`, every stem cut into clips of 24 s, to be combined anew.

Only that folder is ever read. What is meant for measuring (`stems_eval`, `solo_vocals`, `songs`) lies in others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from engine.audio_io import DecodeLimits, decode
from training.pools import Clip, Pool, PoolMissing, open_pool, pack, quantised
from training.progress import Progress
from training.synthesis.sound import LENGTH, RATE

KIND = "real"
WINDOW = LENGTH
LEVEL = 0.1
"""RMS of a song's sum of stems; its stems keep their levels beside each other."""
ACTIVE = 0.02
"""Of a stem's RMS over the song: quieter windows stay out."""


class StemsMissing(Exception):
    """There is no folder of songs with stems."""


def role(stem: str) -> str | None:
    """`lead` and `backing` are voice, `band` is all else; None for what is no stem (a master holds everything)."""
    name = stem.upper()
    if "MASTER" in name or "MIXDOWN" in name:
        return None
    if "VOX" not in name and "VOCAL" not in name:
        return "band"
    return "backing" if "BGVOX" in name or "BACK" in name else "lead"


def fill_real(folder: Path, stems: Path, *, fresh: bool = False) -> Pool:
    """Decode, cut and pack; what is there already and of the same files stays. Raises StemsMissing."""
    if not stems.is_dir():
        raise StemsMissing(f"There is no folder of songs with stems at {stems}.")
    songs = {song.name: sorted(song.glob("*.m4a")) for song in sorted(stems.iterdir()) if song.is_dir()}
    wanted = _hash(songs)
    try:
        there = open_pool(folder, KIND)
        if there.recipe == wanted and not fresh:
            return there
    except PoolMissing:
        pass
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[Mapping[str, Any]] = []
    clips: list[Clip] = []
    progress = Progress("pool real", len(songs))
    for song, files in songs.items():
        for entry, clip in _song_clips(song, files):
            entries.append(entry)
            clips.append(clip)
        progress.step()
    pack(folder, {"kind": KIND, "side": "both", "recipe": wanted, "seed": 0}, entries, clips)
    return open_pool(folder, KIND)


def _song_clips(song: str, files: list[Path]) -> Iterator[tuple[Mapping[str, Any], Clip]]:
    heard = {file: read(file) for file in files if role(file.stem) is not None}
    length = max(sound.shape[1] for sound in heard.values())
    heard = {file: np.pad(sound, ((0, 0), (0, length - sound.shape[1]))) for file, sound in heard.items()}
    total: NDArray[np.float32] = np.sum(list(heard.values()), 0)
    gain = LEVEL / float(np.sqrt(np.mean(np.square(total)) + 1e-12))
    for file, sound in heard.items():
        usual = float(np.sqrt(np.mean(np.square(sound)) + 1e-12))
        for number, start in enumerate(range(0, length - WINDOW, WINDOW)):
            window = sound[:, start : start + WINDOW]
            if float(np.sqrt(np.mean(np.square(window)))) > ACTIVE * usual:
                entry = {"number": number, "song": song, "window": number, "stem": file.stem, "role": role(file.stem)}
                yield entry, quantised(window * gain)


def read(path: Path) -> NDArray[np.float32]:
    """(2, samples) at RATE."""
    with decode(path, DecodeLimits()) as decoding:
        blocks = list(decoding.blocks())
        samples = np.concatenate(blocks)
        sound = np.asarray(soxr.resample(samples, decoding.rate, RATE), np.float32)
    return np.ascontiguousarray(np.broadcast_to(sound, (len(sound), 2)).T)


def _hash(songs: Mapping[str, list[Path]]) -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for song, files in songs.items():
        for file in files:
            digest.update(f"{song}/{file.name}/{file.stat().st_size}".encode())
    return digest.hexdigest()

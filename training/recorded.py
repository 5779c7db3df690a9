"""A pool of recorded music without a voice: whatever audio files lie below a folder, cut into clips of 24 s.

Free games' music, for one, which Debian has as packages (see README.md). Where somebody sings, a voice would be learnt
as accompaniment; so Spleeter listens first, and windows in which it finds much voice stay out. That costs some with a
lead that it takes for one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.catalog import load_catalog
from engine.errors import EngineError
from engine.models.base import ArraySong, Separator
from engine.registry import load_separator
from training.pools import Clip, Pool, PoolMissing, open_pool, pack, quantised
from training.progress import Progress
from training.real import ACTIVE, LEVEL, WINDOW, read
from training.synthesis.sound import RATE

KIND = "recorded"
LISTENER = "spleeter:2stems"
CATALOG = Path(__file__).resolve().parent.parent / "assets" / "models.toml"
SUFFIXES = {".ogg", ".opus", ".mp3", ".flac", ".wav", ".m4a"}
LEAST_BYTES = 200_000
"""Smaller files of games are sounds, not music."""
MOST_WINDOWS = 8
"""Of one file, spread over it: many pieces are worth more than long ones."""
VOICE_DB = -10.0
"""A window in which Spleeter's vocals are louder than this beside the whole stays out."""


class MusicMissing(Exception):
    """There is no such folder, or no music in it."""


def fill_recorded(folder: Path, music: Path, weights: Path, *, workers: int = 1, fresh: bool = False) -> Pool:
    """Decode, listen, cut and pack; what is there already and of the same files stays.

    `weights` are Spleeter's of 2 stems, as `vocal-remover models` keeps them. Raises MusicMissing.
    """
    files = sorted(path for path in music.rglob("*") if path.suffix.lower() in SUFFIXES)
    files = [path for path in files if path.is_file() and path.stat().st_size >= LEAST_BYTES]
    if not files:
        raise MusicMissing(f"There is no music in {music}.")
    wanted = _hash(music, files)
    try:
        there = open_pool(folder, KIND)
        if there.recipe == wanted and not fresh:
            return there
    except PoolMissing:
        pass
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[Mapping[str, Any]] = []
    clips: list[Clip] = []
    progress = Progress(f"pool {KIND}", len(files))
    with ProcessPoolExecutor(workers, initializer=_begin, initargs=(weights,)) as executor:
        for path, (found, left_out) in zip(files, executor.map(_cut, files), strict=True):
            name = str(path.relative_to(music))
            for number, clip in found:
                entries.append({"number": len(entries), "file": name, "window": number})
                clips.append(clip)
            if left_out:
                print(f"{name}: {left_out} windows left out")
            progress.step()
    pack(folder, {"kind": KIND, "side": "band", "recipe": wanted, "seed": 0}, entries, clips)
    return open_pool(folder, KIND)


_listener: Separator | None = None


def _begin(weights: Path) -> None:
    global _listener
    catalog = load_catalog(CATALOG)
    _listener = load_separator(catalog[LISTENER], catalog, threads=1, weights_path=weights)


def _cut(path: Path) -> tuple[list[tuple[int, Clip]], str]:
    """A file's (number, clip), and why others are left out."""
    assert _listener is not None
    try:
        sound = read(path)
    except EngineError as error:
        return [], f"all ({error})"
    return cut(sound, _listener)


def cut(sound: NDArray[np.float32], listener: Separator) -> tuple[list[tuple[int, Clip]], str]:
    """(2, samples) → its windows without a voice, by number; and how many there are with one."""
    usual = rms(sound)
    count = sound.shape[1] // WINDOW
    chosen = sorted({int(place) for place in np.linspace(0, count - 1, min(count, MOST_WINDOWS))}) if count else []
    clips, sung = [], 0
    for number in chosen:
        window = sound[:, number * WINDOW : (number + 1) * WINDOW]
        if rms(window) <= ACTIVE * usual:
            continue
        if 20 * np.log10(rms(vocals(window, listener)) / rms(window) + 1e-9) > VOICE_DB:
            sung += 1
            continue
        clips.append((number, quantised(window * (LEVEL / usual))))
    return clips, f"{sung} of {len(chosen)}" if sung else ""


def vocals(window: NDArray[np.float32], listener: Separator) -> NDArray[np.float32]:
    """What the listener takes for voice, at the rate that it hears, (samples, 2)."""
    import soxr

    song = np.asarray(soxr.resample(window.T, RATE, listener.spec.rate), np.float32)
    return np.concatenate([blocks["vocals"] for blocks in listener.stream(ArraySong(song))])


def rms(sound: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)) + 1e-12))


def _hash(music: Path, files: Sequence[Path]) -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in files:
        digest.update(f"{path.relative_to(music)}/{path.stat().st_size}\n".encode())
    return digest.hexdigest()

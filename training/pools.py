"""Pools: clips of 24 s packed into one file that is mapped into memory, with an index beside it.

    NAME.npy    int16 (clips, 2, samples), 22.05 kHz
    NAME.json   {"kind", "side", "recipe", "seed", "rate", "clips": [{"number", ...}, ...]}
    NAME.parts/ clips that were finished before a kill, one file each; gone once the pool is whole

A clip depends on its kind, its number and the seed alone, not on which process makes it, nor when. Files appear
whole or not at all: they are written under another name and renamed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.orphan import end_with_parent
from training.progress import Progress
from training.recipes import Recipe, recipe_hash
from training.synthesis.programs import ProgramFailed
from training.synthesis.sound import LENGTH, RATE
from training.synthesis.vocals import NobodySang

Clip = NDArray[np.int16]
"""(2, LENGTH)"""
FULL_SCALE = 32767
ATTEMPTS = 3
"""At a clip, each from a seed of its own: speech programs now and then crash or say nothing."""


class PoolStale(Exception):
    """What lies there was made by another recipe; the message says how to go on."""


class PoolMissing(Exception):
    """There is no such pool, or only its parts."""


class ClipFailed(Exception):
    """The programs that make sound fail again and again."""


@dataclass(frozen=True, slots=True)
class Pool:
    kind: str
    side: str
    recipe: str
    clips: tuple[Mapping[str, Any], ...]
    """What the index says of each."""
    samples: NDArray[np.int16]
    """(clips, 2, LENGTH), mapped into memory."""

    def __len__(self) -> int:
        return len(self.clips)


def open_pool(folder: Path, kind: str) -> Pool:
    """Raises PoolMissing, or PoolStale when file and index don't fit each other."""
    index, data = folder / f"{kind}.json", folder / f"{kind}.npy"
    if not index.exists() or not data.exists():
        raise PoolMissing(f"There is no pool {kind!r} in {folder}: python -m training pools makes it.")
    said = json.loads(index.read_text("utf-8"))
    samples = np.load(data, mmap_mode="r")
    if samples.shape != (len(said["clips"]), 2, LENGTH) or samples.dtype != np.int16 or said["rate"] != RATE:
        raise PoolStale(f"{data} is not what {index.name} describes: make the pool again with --fresh.")
    return Pool(said["kind"], said["side"], said["recipe"], tuple(said["clips"]), samples)


def open_pools(folder: Path) -> dict[str, Pool]:
    """All whole pools of a folder, by kind."""
    return {path.stem: open_pool(folder, path.stem) for path in sorted(folder.glob("*.json"))}


def make_clip(recipe: Recipe, number: int, seed: int) -> Clip:
    """The clip of that number: the same wherever and whenever it is made. Raises ClipFailed."""
    said = "it was not finite"
    for attempt in range(ATTEMPTS):
        random = np.random.default_rng([seed, recipe.number, number, attempt])
        try:
            with tempfile.TemporaryDirectory(prefix="clip-") as folder:
                sound = recipe.make(random, Path(folder))
        except (ProgramFailed, NobodySang) as error:
            said = str(error)
            continue
        if np.isfinite(sound).all():
            return quantised(sound)
    raise ClipFailed(f"Clip {number} of {recipe.kind!r} failed {ATTEMPTS} times: {said}")


def quantised(sound: NDArray[Any]) -> Clip:
    return (np.clip(sound, -0.9999, 0.9999) * FULL_SCALE).astype(np.int16)


def fill(
    folder: Path, recipe: Recipe, count: int, *, seed: int = 0, workers: int = 1, fresh: bool = False
) -> tuple[Pool, float]:
    """Make what is missing of the first `count` clips and pack them all; a longer pool stays as it is.

    Also says how many CPU seconds a new clip took (0 if none was made). Raises PoolStale where clips of another
    recipe lie, unless `fresh` says to begin again.
    """
    wanted = recipe_hash(recipe.kind, seed)
    parts = _prepared(folder, recipe, wanted, fresh)
    try:
        there = open_pool(folder, recipe.kind)
    except PoolMissing:
        there = None
    have = len(there) if there else 0
    missing = [number for number in range(have, count) if not _part(parts, number).exists()]
    spent = _made(recipe, seed, missing, parts, workers)
    if there is None or count > have:
        clips = [{"number": number} for number in range(max(count, have))]
        about = {"kind": recipe.kind, "side": recipe.side, "recipe": wanted, "seed": seed}
        old = [] if there is None else list(there.samples)
        pack(folder, about, clips, [*old, *(_part(parts, number) for number in range(have, count))])
    shutil.rmtree(parts, ignore_errors=True)
    return open_pool(folder, recipe.kind), spent / max(1, len(missing))


def pack(
    folder: Path, about: Mapping[str, Any], clips: Iterable[Mapping[str, Any]], sounds: Iterable[Clip | Path]
) -> None:
    """Write a pool from clips, or from files of one each, in the index's order."""
    listed, kind = list(clips), about["kind"]
    data, index = folder / f"{kind}.npy", folder / f"{kind}.json"
    waiting = data.with_suffix(".npy.tmp")
    packed = np.lib.format.open_memmap(waiting, mode="w+", dtype=np.int16, shape=(len(listed), 2, LENGTH))
    for number, sound in enumerate(sounds):
        packed[number] = np.load(sound) if isinstance(sound, Path) else sound
    packed.flush()
    del packed
    # Without its index a pool is not there: index and data never disagree, whenever the power fails.
    index.unlink(missing_ok=True)
    os.replace(waiting, data)
    write_whole(index, json.dumps({**about, "rate": RATE, "clips": listed}, indent=1).encode())


def write_whole(path: Path, content: bytes) -> None:
    waiting = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with waiting.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(waiting, path)


def _prepared(folder: Path, recipe: Recipe, wanted: str, fresh: bool) -> Path:
    """The folder of parts, with clips of this recipe or none."""
    parts = folder / f"{recipe.kind}.parts"
    if fresh:
        shutil.rmtree(parts, ignore_errors=True)
        (folder / f"{recipe.kind}.json").unlink(missing_ok=True)
    made_by = [parts / "recipe"] if parts.exists() else []
    found = {path.read_text("utf-8") for path in made_by if path.exists()}
    index = folder / f"{recipe.kind}.json"
    if index.exists():
        found.add(json.loads(index.read_text("utf-8"))["recipe"])
    if found - {wanted}:
        raise PoolStale(
            f"The clips of {recipe.kind!r} in {folder} are by another recipe or seed: --fresh replaces them."
        )
    parts.mkdir(parents=True, exist_ok=True)
    write_whole(parts / "recipe", wanted.encode())
    return parts


def _part(parts: Path, number: int) -> Path:
    return parts / f"{number:06}.npy"


def _made(recipe: Recipe, seed: int, missing: list[int], parts: Path, workers: int) -> float:
    """Make these clips; CPU seconds, children's programs included."""
    progress = Progress(f"pool {recipe.kind}", len(missing))
    if workers <= 1:
        spent = 0.0
        for number in missing:
            spent += _make_part(recipe, number, seed, parts)
            progress.step()
        return spent
    spent = 0.0
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent) as executor:
        futures = [executor.submit(_make_part, recipe, number, seed, parts) for number in missing]
        try:
            for future in as_completed(futures):
                spent += future.result()
                progress.step()
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
    return spent


def _make_part(recipe: Recipe, number: int, seed: int, parts: Path) -> float:
    began = _cpu()
    clip = make_clip(recipe, number, seed)
    path = _part(parts, number)
    waiting = path.with_suffix(f".{os.getpid()}.tmp")
    with waiting.open("wb") as file:
        np.save(file, clip)
    os.replace(waiting, path)
    return _cpu() - began


def _cpu() -> float:
    used = os.times()
    return time.process_time() + used.children_user + used.children_system

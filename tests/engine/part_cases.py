"""A song in parts and in one pass, written twice: what tests of `engine.parts` compare."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.audio import AudioInfo, Samples
from engine.audio_io import DecodeLimits, probe
from engine.formats import WAV_FLOAT, OutputFormat
from engine.kept_patch import read_patch, write_patch
from engine.models.base import Separator
from engine.models.spleeter import SpleeterSeparator
from engine.parts import separate_patches
from engine.receipt import Receipt
from engine.runtimes.base import Runtime
from engine.runtimes.onnx import OnnxRuntime
from engine.separate import patch_count, separate
from engine.sink import DirectorySink
from tests.engine.small_graphs import write_masks
from tests.engine.spleeter_cases import CATALOG

LIMITS = DecodeLimits(seconds=300)


def small_spleeter(folder: Path, model: str = "spleeter:2stems", runtime: Runtime | None = None) -> SpleeterSeparator:
    """Spleeter around a network that costs next to nothing."""
    spec = CATALOG[model]
    graph = write_masks(folder / f"{len(spec.stems)}.onnx", len(spec.stems), spec.bins)
    session = (runtime or OnnxRuntime()).load(graph, threads=1)
    return SpleeterSeparator(spec, session, f"{len(spec.stems)}")


class Store:
    """Kept patches in a folder. `asked` lists in which order they were read."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.numbers: list[int] = []
        self.asked: list[int] = []

    def keep(self, number: int, samples: Samples) -> bool:
        assert number not in self.numbers
        self.numbers.append(number)
        write_patch(self.folder / str(number), samples)
        return True

    def kept(self, number: int) -> Samples:
        self.asked.append(number)
        return read_patch(self.folder / str(number))


def in_parts(source: Path, separator: Separator, store: Store, info: AudioInfo, step: int = 1, **options: Any) -> None:
    """Ranges of `step` patches, out of order, by separate calls: each may be another worker's."""
    count = patch_count(separator, info, options.get("start_seconds", 0.0), options.get("duration_seconds"))
    firsts = list(range(0, count, step))
    random.Random(count).shuffle(firsts)
    for first in firsts:
        patches = step if first + step < count else None
        handed = separate_patches(
            source, separator, store.keep, limits=LIMITS, info=info, first_patch=first, patches=patches, **options
        )
        assert handed == step or patches is None or not handed


def check_parts(
    source: Path,
    separator: Separator,
    folder: Path,
    format: OutputFormat = WAV_FLOAT,
    *,
    gain_db: float = 0.0,
    seconds: float = 0.0,
    step: int = 1,
    **options: Any,
) -> tuple[Receipt, Store]:
    """Separate in one pass and in parts, compare files and receipts, and give the receipt of the last pass.
    `seconds` is by how much the probe shall have miscounted."""
    info = probe(source, LIMITS)
    info = replace(info, seconds=info.seconds + seconds)
    more: Mapping[str, Any] = {"limits": LIMITS, "info": info, "gain_db": gain_db, **options}
    whole = separate(source, separator, DirectorySink(folder / "whole", format), **more)
    store = Store(folder / "kept")
    in_parts(source, separator, store, info, step, **options)
    joined = separate(source, separator, DirectorySink(folder / "joined", format), kept=store.kept, **more)
    assert store.asked == sorted(store.numbers)
    assert measured(joined) == measured(whole)
    names = [path.name for path in sorted((folder / "whole").iterdir())]
    assert names == sorted(f"{stem}{format.suffix}" for stem in separator.spec.stems)
    for name in names:
        assert (folder / "joined" / name).read_bytes() == (folder / "whole" / name).read_bytes(), name
    return joined, store


def measured(receipt: Receipt) -> dict[str, Any]:
    """All but how long it took."""
    return {key: value for key, value in receipt.to_json().items() if key not in ("seconds", "real_time_factor")}


def stored_frames(store: Store) -> Sequence[int]:
    return [len(read_patch(store.folder / str(number))) for number in sorted(store.numbers)]

"""A song's network passes in parts, by several workers or after a kill; `engine.separate` joins what they kept.

What is kept is what the network makes of each patch, and nothing of what depends on the whole song or on how it is
written (gain, sharing of what is too loud, rounding, the last stem, measurements). So the last pass is the code of
an undisturbed run, and gives its files and its receipt.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from engine.audio import AudioInfo, Samples
from engine.audio_io import DecodeLimits
from engine.batching import batch_size
from engine.errors import SeparationCancelled
from engine.modelled import ModelledStems
from engine.models.base import HighFrequencies, Separator
from engine.runtimes.processor import identity
from engine.sample_queue import regrouped
from engine.song_file import Part, SongFile
from engine.stages import Stages

PACKAGES = ("av", "numpy", "scipy", "soxr")
"""Their versions round differently: the decoder, the transforms, the resampler."""
SOURCES = (
    *("decoder/*.py", "dsp/*.py", "models/*.py", "runtimes/*.py"),
    *("audio_io.py", "batching.py", "checkpoint.py", "modelled.py", "song_file.py", "spleeter_graph.py"),
)
"""The engine's own code between a file and a kept patch."""


def separate_patches(
    source: Path,
    separator: Separator,
    keep: Callable[[int, Samples], bool],
    *,
    limits: DecodeLimits,
    info: AudioInfo,
    high_frequencies: HighFrequencies = "mixture",
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
    first_patch: int = 0,
    patches: int | None = None,
    cancelled: Callable[[], bool] | None = None,
    stages: Stages | None = None,
) -> int:
    """Separate a range of patches and hand each to `keep`, in order, as soon as it is finished.

    `keep` gets the patch's number and its samples, (frames, stems x channels) at the song's rate: all stems that the
    model makes, with `mixture` all but the last. It answers whether to go on. It runs in the caller's thread, while
    the next patches are made; one call over many patches decodes the song once. Returns how many patches were
    handed over: fewer than `patches` when the song ended, or `keep` said so. A song that decodes to more than
    `probe` counted may have a patch more than `patch_count` said, which comes where `patches` is None.

    `stages` is told how long each stage worked. `cancelled` is asked at every block and raises
    SeparationCancelled. Raises what `engine.separate.separate` raises, and what `keep` does; a song without a
    sample has no patch.
    """
    if first_patch < 0 or (patches is not None and patches < 0):
        raise ValueError("Patches are counted from 0 on.")
    part = Part.of(info.rate, start_seconds, duration_seconds)
    modelled = ModelledStems(separator, info, high_frequencies)
    stages = stages or Stages()

    def check() -> None:
        if cancelled is not None and cancelled():
            raise SeparationCancelled("The separation was cancelled.")

    check()
    if patches == 0:
        return 0
    first = modelled.first_frame(first_patch)
    song = SongFile(
        source, info, separator.spec.rate, limits, part, first, stages, check, lambda _: None, remembered="nothing"
    )
    handed = 0
    with closing(song), closing(modelled.from_network(song, first_patch, stages)) as blocks:
        for samples in regrouped(modelled.whole(blocks, song, first_patch), modelled.sizes(first_patch)):
            check()
            go_on = keep(first_patch + handed, samples)
            del samples  # not held until the next patch is there
            handed += 1
            if not go_on or handed == patches:
                break
    return handed


def fingerprint(separator: Separator, high_frequencies: HighFrequencies) -> str:
    """32 hex digits: patches of a song with the same ones are the same bits, whoever made them.

    On a CPU, that is: how a GPU or an inference server rounds is theirs, and only what they say of themselves is in it.
    """
    decides = {
        "engine": _sources(),
        "model": separator.spec.id,
        "weights": separator.weights_sha256,
        "runtime": asdict(separator.runtime),
        "batch": batch_size(separator.runtime),
        "high_frequencies": high_frequencies,
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "processor": identity(separator.runtime.device),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]


@functools.cache
def _sources() -> str:
    """A hash of SOURCES: nobody can forget to raise it as they could a version."""
    folder, found = Path(__file__).parent, hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in folder.glob(pattern)):
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()

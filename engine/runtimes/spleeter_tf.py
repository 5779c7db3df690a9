"""Spleeter itself on TensorFlow, the reference, in an environment of its own (scripts/setup-spleeter).

Every song goes to a child process of that environment's Python as a whole, because Spleeter holds it in
memory as a whole (about 20 MB for each second). Its cut at 600 seconds is in its file reader, which is not
used here; longer songs than `max_seconds` are refused instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import numpy as np

from engine.audio import Samples
from engine.catalog import ModelSpec
from engine.checkpoint import INDEX_NAME, data_files, weights_sha256
from engine.dsp.stft import HOP, SIZE
from engine.errors import AudioTooLong, EngineError, RuntimeUnavailable
from engine.models.base import HighFrequencies, Song
from engine.runtimes.base import RuntimeInfo
from engine.spleeter_graph import PATCH_FRAMES
from engine.stages import Stages

NAME = "spleeter_tf"
CHILD = Path(__file__).with_name("spleeter_child.py")
BLOCK_FRAMES = 1 << 16
VERSIONS = (
    "from importlib.metadata import version as v;"
    "print('spleeter', v('spleeter'), 'on tensorflow-cpu', v('tensorflow-cpu'))"
)


def load(
    spec: ModelSpec, weights: Path, *, python: Path, threads: int, max_seconds: float = 600.0
) -> SpleeterTensorflowSeparator:
    """`python` is the interpreter of Spleeter's environment. Raises RuntimeUnavailable when it is absent
    or has no Spleeter, WeightsCorrupt for a folder without weights."""
    sha256 = weights_sha256(weights)
    try:
        answer = subprocess.run(
            [python, "-c", VERSIONS], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeUnavailable(f"There is no Spleeter behind {python}: run scripts/setup-spleeter.") from error
    info = RuntimeInfo(NAME, answer.stdout.strip(), "CPU", "f32", threads)
    return SpleeterTensorflowSeparator(spec, weights, python, info, sha256, max_seconds)


class SpleeterTensorflowSeparator:
    def __init__(
        self,
        spec: ModelSpec,
        weights: Path,
        python: Path,
        runtime: RuntimeInfo,
        weights_sha256: str,
        max_seconds: float,
    ) -> None:
        self._spec = spec
        self._weights = weights
        self._python = python
        self._runtime = runtime
        self._weights_sha256 = weights_sha256
        self._max_seconds = max_seconds

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def runtime(self) -> RuntimeInfo:
        return self._runtime

    @property
    def weights_sha256(self) -> str:
        return self._weights_sha256

    @property
    def gives_back(self) -> bool:
        return False

    @property
    def patch_samples(self) -> int:
        return PATCH_FRAMES * HOP

    def patch_start(self, patch: int) -> int:
        """Spleeter puts a frame of zeros before the song."""
        return max(0, patch * self.patch_samples - SIZE)

    def stream(
        self,
        song: Song,
        *,
        high_frequencies: HighFrequencies = "mixture",
        start_patch: int = 0,
        stages: Stages | None = None,
    ) -> Generator[Mapping[str, Samples]]:
        """See `engine.models.base.Separator`, but the whole song is separated wherever it starts, nothing comes
        before that is done, and the child's memory grows with the song; its transforms count as `network`. Raises
        AudioTooLong, and EngineError when the child fails."""
        wanted = self._spec.stems[:-1] if high_frequencies == "mixture" else self._spec.stems
        with tempfile.TemporaryDirectory(prefix="spleeter-") as temporary:
            folder = Path(temporary)
            frames = self._write(song.blocks(), folder / "song.f32")
            if not frames:
                return
            with (stages or Stages()).timing("network"):
                self._run(folder, "zeros" if high_frequencies == "zeros" else "average")
            stems = {stem: np.memmap(folder / f"{stem}.f32", np.float32, "r").reshape(-1, 2) for stem in wanted}
            for start in range(self.patch_start(start_patch), frames, BLOCK_FRAMES):
                part = slice(start, start + BLOCK_FRAMES)
                yield {stem: np.array(samples[part]) for stem, samples in stems.items()}

    def close(self) -> None:
        """Nothing stays between songs."""

    def _write(self, song: Iterator[Samples], path: Path) -> int:
        """Write the song raw; returns its frames."""
        frames = 0
        with path.open("wb") as out:
            for block in song:
                frames += len(block)
                if frames > self._max_seconds * self._spec.rate:
                    raise AudioTooLong(
                        f"Spleeter on TensorFlow holds the whole song in memory and is limited to "
                        f"{self._max_seconds:.0f} seconds here; this song is longer."
                    )
                out.write(np.ascontiguousarray(block, np.float32).data)
        return frames

    def _run(self, folder: Path, extension: str) -> None:
        task = {
            "weights": str(_checkpoint_folder(self._weights, folder / "weights")),
            "stems": self._spec.stems,
            "bins": self._spec.bins,
            "extension": extension,
            "song": str(folder / "song.f32"),
            "output": str(folder),
        }
        threads = str(self._runtime.threads)
        environment = os.environ | {
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_NUM_INTRAOP_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            "CUDA_VISIBLE_DEVICES": "",
        }
        # -I: neither this folder nor the caller's PYTHONPATH belongs to Spleeter's environment.
        child = subprocess.run(
            [self._python, "-I", CHILD, json.dumps(task)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        if child.returncode != 0:
            last = child.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            raise EngineError(f"Spleeter's process ended with {child.returncode}: {last[0]}")


def _checkpoint_folder(weights: Path, folder: Path) -> Path:
    """The weights beside a `checkpoint` file that names them, which an operator's folder may lack."""
    folder.mkdir()
    for path in (weights / INDEX_NAME, *data_files(weights)):
        (folder / path.name).symlink_to(path.resolve())
    (folder / "checkpoint").write_text('model_checkpoint_path: "model"\n', "utf-8")
    return folder

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from cli.local_models import LocalModels
from cli.main import app
from engine.catalog import ModelSpec
from engine.models.base import Separator

RATE = 44_100
MakeSong = Callable[..., Path]


@dataclass(frozen=True)
class Outcome:
    code: int
    told: str
    """What people read, on stderr."""
    songs: list[dict[str, Any]]
    """What programs read, on stdout."""

    def statuses(self) -> list[tuple[str, str]]:
        """Song's name and status or error code, in order."""
        return [
            (Path(song["song"] or "").name, song.get("error", song).get("code", song["status"])) for song in self.songs
        ]


class Kept:
    """A loaded model that its users may close; it stays for the next one."""

    def __init__(self, separator: Separator) -> None:
        self._separator = separator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._separator, name)

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def lite() -> Iterator[Separator]:
    models = LocalModels()
    options: dict[str, Any] = {"threads": 1, "runtime": "onnxruntime", "precision": "f32"}
    separator = models.load(models.catalog["lite"], on_progress=lambda done, total: None, **options)
    yield cast(Separator, Kept(separator))
    separator.close()


@pytest.fixture
def separate(tmp_path: Path, lite: Separator, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """`vocal-remover separate ... -o <tmp>/out --json`, on a machine without weights and with `lite` loaded."""
    monkeypatch.setenv("VR_DATA_DIR", str(tmp_path / "data"))
    really_load = LocalModels.load

    def load(self: LocalModels, spec: ModelSpec, **options: Any) -> Separator:
        return lite if spec.id == "lite" else really_load(self, spec, **options)

    monkeypatch.setattr(LocalModels, "load", load)

    def run(*arguments: object) -> Outcome:
        words = ["separate", *map(str, arguments), "-o", str(tmp_path / "out"), "--json"]
        result = CliRunner().invoke(app, words)
        return Outcome(result.exit_code, result.stderr, [json.loads(line) for line in result.stdout.splitlines()])

    return run


@pytest.fixture
def make_song(tmp_path: Path) -> MakeSong:
    """A song of noise and a tone, different for every `seed`; its path is below <tmp>/songs."""

    def make(name: str = "song.wav", *, seed: int = 0, seconds: float = 1.0, rate: int = RATE) -> Path:
        path = tmp_path / "songs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).normal(0, 0.02, (round(seconds * rate), 2))
        tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(len(noise)) / rate)
        soundfile.write(path, noise + tone[:, None], rate)
        return path

    return make

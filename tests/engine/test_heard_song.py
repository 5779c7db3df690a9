"""Songs that are heard twice and decoded once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import audio_io, song_file
from engine.audio_io import DecodeLimits, Decoding
from engine.formats import OutputFormat
from engine.models.base import Separator
from engine.separate import separate
from engine.sink import DirectorySink

WAV_FLOAT = OutputFormat("wav", bit_depth="float")
Stems = Callable[[], tuple[list[bytes], int]]


@pytest.fixture
def stems(lite: Separator, warmup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stems:
    """Both stems of a song, and how often it was decoded."""
    times: list[Decoding] = []

    class Counted(Decoding):
        def __init__(self, *arguments: Any) -> None:
            times.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr(audio_io, "Decoding", Counted)

    def run() -> tuple[list[bytes], int]:
        times.clear()
        sink = DirectorySink(tmp_path / "stems", WAV_FLOAT)
        separate(warmup, lite, sink, limits=DecodeLimits(seconds=60), start_seconds=1, duration_seconds=5)
        return [sink.path(stem).read_bytes() for stem in lite.spec.stems], len(times)

    return run


def test_it_is_decoded_once_and_nothing_changes(stems: Stems, monkeypatch: pytest.MonkeyPatch) -> None:
    once, decoded = stems()
    assert decoded == 1
    monkeypatch.setattr(song_file, "LONGEST_SECONDS", 1.0)
    assert stems() == (once, 2)


@pytest.mark.parametrize("place", ["full", "missing"])
def test_a_disk_that_keeps_nothing_costs_a_second_decoding(
    stems: Stems, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    once, _ = stems()

    def nowhere(**options: Any) -> Any:
        if place == "missing":
            raise FileNotFoundError("No usable temporary directory found")
        return open("/dev/full", "w+b", **options)

    monkeypatch.setattr(tempfile, "TemporaryFile", nowhere)
    assert stems() == (once, 2)

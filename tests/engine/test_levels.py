"""Levels that are odd: beyond full scale, beyond all music, or no numbers at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.audio import Samples
from engine.audio_io import DecodeLimits
from engine.catalog import Catalog
from engine.errors import EngineError
from engine.formats import OutputFormat, make_format
from engine.models.base import Separator
from engine.separate import separate
from engine.sink import DirectorySink, NullSink
from tests.engine.passing import Passing

LIMITS = DecodeLimits(seconds=300)


@pytest.fixture
def passing(catalog: Catalog) -> Passing:
    return Passing(catalog["lite"], {"vocals": 0.25, "accompaniment": 0.0})


def test_what_is_just_beyond_full_scale_is_counted(catalog: Catalog, tmp_path: Path) -> None:
    samples = np.full((1000, 2), 0.5, np.float32)
    samples[[10, 20, 30]] = [[1.00002], [-1.00002], [1.0]]
    soundfile.write(tmp_path / "song.wav", samples, 44100, subtype="FLOAT")
    all_of_it = Passing(catalog["lite"], {"vocals": 1.0, "accompaniment": 0.0})
    receipt = separate(
        tmp_path / "song.wav", all_of_it, DirectorySink(tmp_path / "stems", OutputFormat("wav", 24)), limits=LIMITS
    )
    assert receipt.stems["vocals"].clipped_samples == 4


@pytest.mark.parametrize("gain_db", [0.0, 20.0])
def test_loudness_is_that_of_what_was_written(gain_db: float, passing: Passing, tmp_path: Path, music: Samples) -> None:
    soundfile.write(tmp_path / "song.wav", music, 44100, subtype="FLOAT")
    sink = DirectorySink(tmp_path / "stems")
    receipt = separate(tmp_path / "song.wav", passing, sink, limits=LIMITS, gain_db=gain_db)
    assert (receipt.stems["accompaniment"].clipped_samples > 1000) == (gain_db > 0)
    for stem, measure in receipt.stems.items():
        again = separate(sink.path(stem), passing, NullSink(), limits=LIMITS).mix
        assert measure.loudness_lufs == pytest.approx(again.loudness_lufs, abs=0.02)


def test_a_model_that_gives_no_numbers_is_an_error(catalog: Catalog, tmp_path: Path, music: Samples) -> None:
    soundfile.write(tmp_path / "song.wav", music, 44100)
    broken = Passing(catalog["lite"], {"vocals": float("nan"), "accompaniment": 0.0})
    # LAME ends the whole process when it is given one.
    sink = DirectorySink(tmp_path / "stems", make_format("mp3"))
    with pytest.raises(EngineError, match="not finite"):
        separate(tmp_path / "song.wav", broken, sink, limits=LIMITS)
    assert list((tmp_path / "stems").iterdir()) == []


@pytest.mark.parametrize("level", [2.0**31, 1e30, 3e38])
def test_levels_that_no_music_has(level: float, lite: Separator, tmp_path: Path, music: Samples) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, music[:44_100] * np.float32(level / np.abs(music).max()), 44100, subtype="FLOAT")
    receipt = separate(song, lite, DirectorySink(tmp_path / "stems", make_format("mp3")), limits=LIMITS)
    json.dumps(receipt.to_json(), allow_nan=False)
    codes = {warning.code for warning in receipt.warnings}
    assert ("nonfinite" in codes) == (level > 2.0**32)
    assert ("clipped" in codes) == (level < 2.0**32)

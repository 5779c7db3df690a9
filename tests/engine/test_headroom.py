"""Songs beyond full scale: no stem can hold all of what is left, and still they sum to the song."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.audio import Samples
from engine.audio_io import DecodeLimits
from engine.catalog import Catalog
from engine.dsp.headroom import LIMIT, share_excess
from engine.formats import WAV_16, WAV_24, OutputFormat
from engine.separate import separate
from engine.sink import DirectorySink
from tests.engine.passing import Passing


def test_what_fits_is_left_alone() -> None:
    song, vocals = np.full((4, 2), 0.9, np.float32), np.full((4, 2), 0.2, np.float32)
    stems, beyond = share_excess(song, {"vocals": vocals})
    assert beyond is None
    assert stems["vocals"] is vocals


def test_what_is_too_much_goes_to_the_first_stem_with_room() -> None:
    song = np.array([[1.5], [2.5], [-1.5], [0.5]], np.float32)
    stems = {"vocals": np.array([[0.1], [0.9], [0.1], [0.2]], np.float32), "drums": np.zeros((4, 1), np.float32)}
    shared, beyond = share_excess(song, stems)
    assert beyond is not None
    rest = song - shared["vocals"] - shared["drums"]
    assert np.abs(rest).max() <= LIMIT + 1e-6
    np.testing.assert_allclose(shared["vocals"][:, 0], [0.5, 1, -0.5, 0.2], atol=1e-4)
    np.testing.assert_allclose(shared["drums"][:, 0], [0, 0.5, 0, 0], atol=1e-4)
    np.testing.assert_allclose(beyond[:, 0], [1.4, 1.6, -1.6, 0.3], atol=1e-6)


@pytest.mark.parametrize(("format", "step"), [(WAV_16, 2.0**-15), (WAV_24, 2.0**-23)])
def test_a_song_beyond_full_scale_is_the_sum_of_its_stems(
    format: OutputFormat, step: float, catalog: Catalog, music: Samples, tmp_path: Path
) -> None:
    loud = music * np.float32(1.7 / np.abs(music).max())
    song = tmp_path / "song.wav"
    soundfile.write(song, loud, 44_100, subtype="FLOAT")
    model = Passing(catalog["lite"], {"vocals": 0.1, "accompaniment": 0.9})
    sink = DirectorySink(tmp_path / "stems", format)
    receipt = separate(song, model, sink, limits=DecodeLimits(seconds=60))
    found = sum(soundfile.read(sink.path(stem), dtype="float32")[0] for stem in model.spec.stems)
    assert np.abs(found - loud).max() <= step
    assert receipt.residual_dbfs is None or receipt.residual_dbfs < -90
    assert receipt.stems["accompaniment"].clipped_samples == np.count_nonzero(np.abs(loud - loud * 0.1) > LIMIT)
    assert receipt.stems["accompaniment"].peak == pytest.approx(1.7 * 0.9, abs=1e-3)
    assert receipt.stems["vocals"].clipped_samples == 0
    assert "clipped" in {warning.code for warning in receipt.warnings}

"""The picture of a result: what is in its pixels, and that a long song is no larger in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import soundfile

from engine.plot import COLUMNS, ROWS, draw, spectrograms
from tests.cli.conftest import MakeSong, Outcome

RATE = 44_100


def tone(path: Path, seconds: float, hertz: float, level: float, begin: float = 0, rate: int = RATE) -> Path:
    """A sine from `begin` on, in the left channel; written in blocks."""
    with soundfile.SoundFile(path, "w", rate, 2, "PCM_16") as file:
        for second in range(int(seconds)):
            time = second + np.arange(rate) / rate
            left = level * np.sin(2 * np.pi * hertz * time) * (time >= begin)
            file.write(np.stack([left, np.zeros(rate)], axis=1))
    return path


def row_of(hertz: float, rate: int = RATE) -> int:
    """On the mel scale."""
    return int(ROWS * np.log10(1 + hertz / 700) / np.log10(1 + rate / 2 / 700))


@pytest.mark.parametrize("rate", [44_100, 8_000])
def test_a_tone_is_where_and_when_it_sounds(rate: int, tmp_path: Path) -> None:
    stems = {
        "vocals": tone(tmp_path / "vocals.wav", 4, 3000, 0.5, begin=2, rate=rate),
        "other": tone(tmp_path / "other.wav", 4, 500, 0.25, rate=rate),
    }
    images, found_rate = spectrograms(stems, 4.0)
    assert found_rate == rate and list(images) == ["", "vocals", "other"]
    columns = images[""].shape[1]
    late, early = slice(int(0.6 * columns), int(0.9 * columns)), slice(0, int(0.4 * columns))
    vocals, other, mix = images["vocals"], images["other"], images[""]
    high, low = int(vocals[:, late].mean(axis=1).argmax()), int(other.mean(axis=1).argmax())
    assert abs(high - row_of(3000, rate)) <= 1 and abs(low - row_of(500, rate)) <= 1  # a bin begins in one row
    assert set(np.argmax(vocals[:, late], axis=0)) == {high} and set(np.argmax(other, axis=0)) == {low}
    # Half of it, mono: the right channel is silent. The window's lobe falls between bins by up to 1.4 dB.
    assert np.allclose(vocals.max(axis=0)[late], 0.25, rtol=0.16)
    assert vocals[:, early].max() < 1e-4
    assert np.allclose(mix[high, late], vocals[high, late], rtol=0.01)
    assert np.allclose(mix[low, early], other[low, early], rtol=0.01)


def test_memory_does_not_grow_with_the_song(tmp_path: Path) -> None:
    peaks = []
    for seconds in (40, 240):
        path = tone(tmp_path / f"{seconds}.wav", seconds, 300, 0.5, rate=8000)
        tracemalloc.start()
        images, _ = spectrograms({"vocals": path}, seconds)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert images[""].shape == (ROWS, COLUMNS)
        assert images[""].max(axis=0).min() > 0.1  # no column was left empty
    assert peaks[1] < peaks[0] + 500_000


def test_the_picture_can_be_drawn_for_any_title(tmp_path: Path) -> None:
    title = "Bài hát $x_1$ 歌\x1b[31m" + "x" * 300
    stems = {stem: tone(tmp_path / f"{stem}.wav", 1, 440, level) for stem, level in (("vocals", 0.0), ("other", 0.5))}
    silent = {"peak": 0.0, "rms_dbfs": None, "loudness_lufs": None}
    receipt = {
        "model": "lite",
        "runtime": {"name": "none", "precision": "f32"},
        "mix": {"peak": 1.2, "rms_dbfs": -9.0, "loudness_lufs": -7.1},
        "stems": {"vocals": silent, "other": {"peak": 0.5, "rms_dbfs": -9.0, "loudness_lufs": None}},
    }
    draw(stems, receipt, tmp_path / "plot.png", title=title)
    picture = matplotlib.image.imread(tmp_path / "plot.png")
    assert picture.shape[:2] == (960, 1440)
    assert len(np.unique((picture * 255).astype(int).reshape(-1, picture.shape[2]), axis=0)) > 100


def test_the_command_draws_it_also_for_what_is_done_already(
    separate: Callable[..., Outcome], make_song: MakeSong, tmp_path: Path
) -> None:
    song = make_song(seconds=0.5)
    picture = tmp_path / "out/song/plot.png"
    assert separate(song).statuses() == [("song.wav", "done")]
    later = separate(song, "--plot")
    assert later.statuses() == [("song.wav", "skipped")] and picture.read_bytes().startswith(b"\x89PNG")
    drawn = picture.stat().st_mtime_ns
    assert later.songs[0]["receipt"]["files"]["plot.png"] == picture.stat().st_size
    assert separate(song, "--plot").code == 0 and picture.stat().st_mtime_ns == drawn
    at_once = separate(song, "--plot", "--overwrite", "--format", "m4a")
    assert sorted(at_once.songs[0]["receipt"]["files"]) == ["accompaniment.m4a", "plot.png", "vocals.m4a"]
    assert separate(song, "--overwrite").code == 0 and not picture.exists()

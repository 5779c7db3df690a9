from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.audio import Samples
from training import recorded
from training.synthesis.sound import LENGTH, RATE


class Listener:
    """Takes for voice what lies between 900 and 1100 Hz, which no band plays here."""

    spec = SimpleNamespace(rate=44_100)

    def stream(self, song: Any) -> Iterator[Mapping[str, Samples]]:
        samples = np.concatenate(list(song.listen()))
        spectrum = np.fft.rfft(samples, axis=0)
        hertz = np.fft.rfftfreq(len(samples), 1 / self.spec.rate)
        spectrum[(hertz < 900) | (hertz > 1100)] = 0
        yield {"vocals": np.fft.irfft(spectrum, len(samples), axis=0).astype(np.float32)}


def tone(hertz: float, seconds: float) -> NDArray[np.float32]:
    wave = 0.2 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
    return np.repeat(wave[np.newaxis].astype(np.float32), 2, axis=0)


def test_windows_with_a_voice_and_silent_ones_stay_out() -> None:
    window = LENGTH / RATE
    band, sung, silence = tone(300, window), tone(300, window) + tone(1000, window), np.zeros((2, LENGTH), np.float32)
    rest = tone(300, 3)
    clips, said = recorded.cut(np.concatenate([band, sung, silence, band, rest], axis=1), Listener())  # type: ignore[arg-type]
    assert [number for number, _ in clips] == [0, 3]
    assert all(clip.shape == (2, LENGTH) and clip.dtype == np.int16 for _, clip in clips)
    assert said == "1 of 4"


def test_of_long_files_windows_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MOST_WINDOWS", 3)
    clips, _ = recorded.cut(np.concatenate([tone(300, 9 * LENGTH / RATE)], axis=1), Listener())  # type: ignore[arg-type]
    assert [number for number, _ in clips] == [0, 4, 8]


def test_a_file_shorter_than_a_clip_gives_none() -> None:
    assert recorded.cut(tone(300, 5), Listener()) == ([], "")  # type: ignore[arg-type]


def test_a_folder_without_music_is_said(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("none")
    (tmp_path / "click.ogg").write_bytes(b"-" * 1000)  # a sound of a game, no music
    with pytest.raises(recorded.MusicMissing):
        recorded.fill_recorded(tmp_path / "pools", tmp_path, tmp_path)

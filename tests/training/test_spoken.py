from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from training.synthesis import spoken
from training.synthesis.sound import RATE


def person(folder: Path, rate: int, files: int = 12, seconds: float = 0.6) -> Path:
    """Words between two silences, each a tone of its own."""
    folder.mkdir(parents=True)
    for number in range(files):
        word = 0.3 * np.sin(2 * np.pi * (200 + 20 * number) * np.arange(round(seconds * rate)) / rate)
        soundfile.write(folder / f"{number}.wav", np.pad(word, rate // 4), rate)
    return folder


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    spoken.speakers.cache_clear()
    spoken.recordings.cache_clear()
    monkeypatch.setattr(spoken, "FOLDERS", {str(tmp_path / "game"): "game", str(tmp_path / "none"): "absent"})
    person(tmp_path / "game" / "da", 22_050)
    person(tmp_path / "game" / "de", 44_100)
    person(tmp_path / "game" / "es", 8000)
    person(tmp_path / "game" / "fi", 22_050, files=3)
    yield tmp_path / "game"
    spoken.speakers.cache_clear()
    spoken.recordings.cache_clear()


def test_who_said_enough_and_clearly_speaks(people: Path) -> None:
    assert spoken.speakers() == (str(people / "da"), str(people / "de"))
    assert spoken.missing() == ["absent"]


@pytest.mark.parametrize("language", ["da", "de", "es"])
def test_a_line_is_words_without_the_silence_around_them(people: Path, language: str) -> None:
    said = spoken.say(np.random.default_rng(3), str(people / language))
    assert said is not None
    line, rate = said
    assert rate == (8000 if language == "es" else RATE)
    assert 1.5 * RATE <= len(line) <= 5 * RATE
    assert np.abs(line).max() == pytest.approx(1)
    assert np.mean(np.abs(line) > 0.01) > 0.7


def test_the_same_seed_says_the_same(people: Path) -> None:
    first, again, other = (spoken.say(np.random.default_rng(seed), str(people / "da")) for seed in (1, 1, 2))
    assert first is not None and again is not None and other is not None
    np.testing.assert_array_equal(first[0], again[0])
    assert len(first[0]) != len(other[0]) or not np.array_equal(first[0], other[0])


def test_who_is_silent_says_nothing(people: Path) -> None:
    for path in (people / "fi").iterdir():
        soundfile.write(path, np.zeros(RATE), RATE)
    assert spoken.say(np.random.default_rng(0), str(people / "fi")) is None

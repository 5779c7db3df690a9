from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training import real
from training.pools import Pool
from training.synthesis.sound import LENGTH


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("1.Hydrogen_Stem_VOX LEAD_mobile", "lead"),
        ("2.Lithium_Stem_BGVOX 1", "backing"),
        ("2.Lithium_Stem_KICK", "band"),
        ("6.Caesium_Master_mobile", None),
    ],
)
def test_a_stem_is_known_by_its_name(stem: str, expected: str | None) -> None:
    assert real.role(stem) == expected


@pytest.fixture
def stems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A song of two windows and a bit: the voice is silent in the second one."""
    song = tmp_path / "stems" / "song"
    song.mkdir(parents=True)
    for name in ("Stem_VOX LEAD", "Stem_KICK", "Master"):
        (song / f"{name}.m4a").write_bytes(b"-")

    def read(path: Path) -> NDArray[np.float32]:
        assert "Master" not in path.name, "a master holds the voice too"
        sound = np.full((2, 2 * LENGTH + 100), 0.2, np.float32)
        if "VOX" in path.name:
            sound[:, LENGTH:] = 0
        return sound

    monkeypatch.setattr(real, "read", read)
    return tmp_path / "stems"


def where(pool: Pool) -> list[tuple[str, int]]:
    return [(clip["role"], clip["window"]) for clip in pool.clips]


def test_stems_are_cut_where_they_sound(stems: Path, tmp_path: Path) -> None:
    pool = real.fill_real(tmp_path / "pools", stems)
    assert sorted(where(pool)) == [("band", 0), ("band", 1), ("lead", 0)]
    assert pool.samples.shape == (3, 2, LENGTH)
    again = real.fill_real(tmp_path / "pools", stems)
    assert again.recipe == pool.recipe


def test_other_files_make_another_pool(stems: Path, tmp_path: Path) -> None:
    before = real.fill_real(tmp_path / "pools", stems)
    (stems / "song" / "Stem_PAD.m4a").write_bytes(b"-")
    after = real.fill_real(tmp_path / "pools", stems)
    assert after.recipe != before.recipe
    assert len(after) == 5


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(real.StemsMissing):
        real.fill_real(tmp_path, tmp_path / "none")

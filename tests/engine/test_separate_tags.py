"""What a song says about itself, through the whole pipeline into its stems."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.audio import Samples
from engine.audio_io import DecodeLimits, decode
from engine.catalog import Catalog
from engine.chosen_stems import ChosenStems
from engine.errors import AudioEmpty
from engine.formats import CONTAINERS, Container, make_format
from engine.separate import separate
from engine.sink import DirectorySink
from engine.tags import Cover, Tags
from tests.engine.passing import Passing

LIMITS = DecodeLimits(seconds=300)


@pytest.fixture
def passing(catalog: Catalog) -> Passing:
    return Passing(catalog["lite"], {"vocals": 0.25, "accompaniment": 0.0})


@pytest.mark.parametrize("container", CONTAINERS)
def test_stems_carry_the_songs_tags(container: Container, passing: Passing, tmp_path: Path, music: Samples) -> None:
    cover = Cover("image/png", b"\x89PNG\r\n\x1a\n" + bytes(100))
    song = DirectorySink(tmp_path, make_format("flac"))
    song.open(44_100, 2, ["mix"], len(music), Tags({"title": "Song", "artist": "Known"}, cover))
    song.write("mix", music)
    song.commit()
    stems = DirectorySink(tmp_path / "stems", make_format(container))
    separate(song.path("mix"), passing, ChosenStems(stems, ["vocals"]), limits=LIMITS)
    with decode(stems.path("vocals"), LIMITS) as decoding:
        tags = decoding.tags
    assert (tags.values["title"], tags.values["artist"]) == ("Song (mix) (vocals)", "Known")
    assert tags.cover == cover


def test_a_song_without_a_sample_makes_no_file(passing: Passing, warmup: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioEmpty):
        separate(warmup, passing, DirectorySink(tmp_path / "stems"), limits=LIMITS, start_seconds=3_000.0)
    assert not (tmp_path / "stems").exists()

"""Which songs a command line means."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.songs import Song, SongMissing, find_songs


@pytest.fixture
def music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("top.mp3", "live/one.mp3", "live/b/two.flac", "live/text.txt", "done/receipt.json", "done/vocals.wav"):
        path = Path("music") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Path("music")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["music/top.mp3"], [("top.mp3", ".")]),
        (["music/live/text.txt"], [("text.txt", ".")]),
        (["music"], [("top.mp3", "."), ("one.mp3", "live"), ("two.flac", "live/b")]),
        (["music/live"], [("one.mp3", "."), ("two.flac", "b")]),
        (["music/*.mp3"], [("top.mp3", ".")]),
        (["music/*/*.mp3"], [("one.mp3", "live")]),
        (["music/l*"], [("one.mp3", "live"), ("two.flac", "live/b")]),
        (["music/**/*.mp3"], [("one.mp3", "live"), ("top.mp3", ".")]),
        (["music/**"], [("two.flac", "live/b"), ("one.mp3", "live"), ("top.mp3", ".")]),
        (
            ["music/top.mp3", "music", "./music/top.mp3"],
            [("top.mp3", "."), ("one.mp3", "live"), ("two.flac", "live/b")],
        ),
    ],
)
def test_files_folders_and_patterns(arguments: list[str], found: list[tuple[str, str]], music: Path) -> None:
    songs = [song for song in find_songs(arguments, Path("out")) if isinstance(song, Song)]
    assert [(song.path.name, str(song.below)) for song in songs] == found


def test_a_name_with_brackets_is_a_name(music: Path) -> None:
    (music / "song [live].mp3").touch()
    (song,) = find_songs(["music/song [live].mp3"], Path("out"))
    assert isinstance(song, Song) and song.path.name == "song [live].mp3"


@pytest.mark.parametrize("argument", ["none.mp3", "music/*.ogg", "music/done", ""])
def test_an_argument_without_songs_is_said(argument: str, music: Path) -> None:
    (missing,) = find_songs([argument], Path("out"))
    assert isinstance(missing, SongMissing) and repr(argument) in str(missing)


def test_the_output_folder_is_not_looked_into(music: Path) -> None:
    (music / "out" / "song").mkdir(parents=True)
    (music / "out" / "song" / "vocals.wav").touch()
    found = [
        song.path.name for song in find_songs(["music", "music/**/*.wav"], music / "out") if isinstance(song, Song)
    ]
    assert "vocals.wav" not in found

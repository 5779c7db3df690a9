"""What a file says about its song, and its cover: carried over, cut to size, and never believed."""

from __future__ import annotations

from pathlib import Path

import mutagen.flac
import mutagen.id3
import mutagen.mp4
import mutagen.oggvorbis
import pytest
import soundfile

from engine.audio import Samples
from engine.audio_io import DecodeLimits, decode
from engine.decoder.metadata import LARGEST_COVER, LONGEST_VALUE, clean, picture_type
from engine.tags import Cover, Tags
from tests.engine.audio_files import encode

LIMITS = DecodeLimits(seconds=60)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4


def tags_of(path: Path, samples: int | None = None) -> Tags:
    with decode(path, LIMITS) as decoding:
        frames = sum(map(len, decoding.blocks()))
        assert samples is None or frames == samples
        return decoding.tags


def test_mp3(tmp_path: Path, music: Samples) -> None:
    path = encode(tmp_path / "song.mp3", music, 44100, "libmp3lame")
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.TIT2(encoding=3, text="Söng ☃"))
    tags.add(mutagen.id3.TPE1(encoding=3, text="Singer"))
    tags.add(mutagen.id3.TRCK(encoding=3, text="3/9"))
    tags.add(mutagen.id3.TXXX(encoding=3, desc="replaygain_track_gain", text="-9 dB"))
    tags.add(mutagen.id3.APIC(encoding=3, mime="image/png", type=4, desc="back", data=PNG + b"back"))
    tags.add(mutagen.id3.APIC(encoding=3, mime="image/gif", type=3, desc="front", data=JPEG))
    tags.save(path)
    # The picture's type is that of its bytes, and the one in front is taken.
    expected = {"title": "Söng ☃", "artist": "Singer", "track": "3/9"}
    assert tags_of(path, len(music)) == Tags(expected, Cover("image/jpeg", JPEG))


def test_flac(tmp_path: Path, music: Samples) -> None:
    path = encode(tmp_path / "song.flac", music, 44100, "flac")
    file = mutagen.flac.FLAC(path)
    file.update({"TITLE": "Song", "AlbumArtist": "All", "DATE": "1999", "DISCNUMBER": "2"})
    picture = mutagen.flac.Picture()
    picture.data, picture.mime, picture.type = PNG, "image/png", 3
    file.add_picture(picture)
    file.save()
    expected = {"title": "Song", "album_artist": "All", "date": "1999", "disc": "2"}
    assert tags_of(path, len(music)) == Tags(expected, Cover("image/png", PNG))


def test_m4a(tmp_path: Path, music: Samples) -> None:
    path = encode(tmp_path / "song.m4a", music, 44100, "aac")
    file = mutagen.mp4.MP4(path)
    file["\xa9nam"], file["\xa9alb"], file["trkn"] = "Song", "Album", [(3, 9)]
    file["covr"] = [mutagen.mp4.MP4Cover(JPEG, mutagen.mp4.MP4Cover.FORMAT_JPEG)]
    file.save()
    tags = tags_of(path)
    assert (tags.values["title"], tags.values["album"], tags.values["track"]) == ("Song", "Album", "3/9")
    assert tags.cover == Cover("image/jpeg", JPEG)


def test_ogg(tmp_path: Path, music: Samples) -> None:
    path = tmp_path / "song.ogg"
    soundfile.write(path, music, 44100, format="OGG", subtype="VORBIS")
    file = mutagen.oggvorbis.OggVorbis(path)
    file["title"], file["genre"] = "Song", "Folk"
    file.save()
    tags = tags_of(path, len(music))
    assert (tags.values["title"], tags.values["genre"], tags.cover) == ("Song", "Folk", None)


def test_none(tmp_path: Path, music: Samples) -> None:
    soundfile.write(tmp_path / "song.wav", music, 44100)
    assert tags_of(tmp_path / "song.wav", len(music)) == Tags({}, None)


def test_hostile_tags(tmp_path: Path, music: Samples) -> None:
    path = encode(tmp_path / "song.flac", music, 44100, "flac")
    file = mutagen.flac.FLAC(path)
    file["title"] = "So\x1b[31mng\x7f\u202e\n2"
    file["artist"] = "a" * 100_000
    file.update({f"name{number}": "value" for number in range(5000)})
    picture = mutagen.flac.Picture()
    picture.data, picture.mime, picture.type = b"<svg onload='alert(1)'/>", "image/png", 3
    file.add_picture(picture)
    file.save()
    assert tags_of(path, len(music)) == Tags({"title": "So[31mng\n2", "artist": "a" * LONGEST_VALUE}, None)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (b"GIF89a" + bytes(100), None),
        (b"", None),
        (JPEG + bytes(LARGEST_COVER - len(JPEG)), "image/jpeg"),
        (JPEG + bytes(LARGEST_COVER), None),
    ],
)
def test_pictures_are_known_by_their_bytes(content: bytes, kind: str | None) -> None:
    assert picture_type(content) == kind


def test_clean() -> None:
    assert clean(" \x00a\tb\r\n\ud800") == "a\tb"

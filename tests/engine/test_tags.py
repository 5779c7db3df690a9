"""A song's tags and cover in its stems, read back by mutagen and by FFmpeg's libraries."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import av
import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.flac import Picture

from engine.audio_io import DecodeLimits, decode
from engine.encoders import id3, sndfile, tagging
from engine.formats import CONTAINERS, WAV_24, WAV_FLOAT, Container, OutputFormat, make_format
from engine.sink import DirectorySink
from engine.tags import Cover, Tags
from tests.engine.audio_files import decode_here

VALUES = {
    "title": "Žluťoučký kůň 東京",
    "artist": "Sigur Rós",
    "album": "( )",
    "album_artist": "Various",
    "date": "2002-10-28",
    "genre": "Post-Rock",
    "track": "3/8",
    "disc": "1/2",
    "composer": "Jón",
    "comment": "ünïcode",
    "copyright": "2002 Smekkleysa",
}


def png() -> bytes:
    """A red pixel."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


COVER = Cover("image/png", png())
PHOTO = Cover("image/jpeg", b"\xff\xd8\xff\xe0" + np.random.default_rng(1).bytes(300_000))


def write(folder: Path, container: Container, tags: Tags | None) -> Path:
    sink = DirectorySink(folder, make_format(container))
    sink.open(44_100, 2, ["vocals"], 20_000, tags)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (20_000, 2)).astype(np.float32)
    sink.write("vocals", noise)
    sink.commit()
    return sink.path("vocals")


def by_ffmpeg(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        found = {**container.metadata, **container.streams.audio[0].metadata}
    return {name.lower(): value for name, value in found.items()}


def cover_in(path: Path) -> bytes:
    file: Any = mutagen.File(path)
    match path.suffix:
        case ".mp3" | ".wav":
            data = file.tags.getall("APIC")[0].data
        case ".flac":
            data = file.pictures[0].data
        case ".ogg":
            data = Picture(base64.b64decode(file["metadata_block_picture"][0])).data
        case _:
            data = file["covr"][0]
    return bytes(data)


@pytest.mark.parametrize("cover", [COVER, PHOTO], ids=["png", "jpeg"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_tags_and_cover_are_carried_over(container: Container, cover: Cover, tmp_path: Path) -> None:
    path = write(tmp_path / "tagged", container, Tags(VALUES, cover))
    assert by_ffmpeg(path).items() >= {**VALUES, "title": f"{VALUES['title']} (vocals)"}.items()
    assert cover_in(path) == cover.data
    plain = write(tmp_path / "plain", container, None)
    for one, other in zip(decode_here(path), decode_here(plain), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_engines_own_decoder_finds_them_again(container: Container, tmp_path: Path) -> None:
    more = {"lyrics": "La\nla", "bpm": "120", "grouping": "Suite", "compilation": "1"}
    path = write(tmp_path, container, Tags({**VALUES, **more, "isrc": "ISF230200001"}, COVER))
    with decode(path, DecodeLimits()) as decoding:
        tags = decoding.tags
    assert tags.values.items() >= {**VALUES, "title": f"{VALUES['title']} (vocals)"}.items()
    assert tags.cover == COVER
    assert "isrc" not in tags.values
    if container in ("flac", "ogg", "m4a"):  # FFmpeg's names for the others' frames differ
        assert tags.values.items() >= {name: more[name] for name in ("lyrics", "grouping", "compilation")}.items()


@pytest.mark.parametrize("container", CONTAINERS)
def test_no_tags_are_no_tags(container: Container, tmp_path: Path) -> None:
    found = by_ffmpeg(write(tmp_path, container, Tags()))
    assert not found.keys() & VALUES.keys()


@pytest.mark.parametrize(
    "value",
    ["\udc80", "a\0b", "", "x" * 20_000, "\x01\x1b[31m\r\n", "💣" * 2_000, "=;\\/", "-1/99999999", "9" * 5_000],
    ids=ascii,
)
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_strangers_values_break_nothing(container: Container, value: str, tmp_path: Path) -> None:
    others = {name: value for name in (*id3.FRAMES, *tagging.VORBIS_FIELDS) if name not in ("title", "artist")}
    tags = Tags({**others, "title": value, "artist": "Known", "no such name": value, "=\0": value}, COVER)
    path = write(tmp_path, container, tags)
    assert len(decode_here(path)[0]) >= 20_000
    assert by_ffmpeg(path)["artist"] == "Known"


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("data", [b"", b"no picture", bytes(9 * 2**20)], ids=["empty", "text", "9 MB"])
def test_a_strangers_cover_breaks_nothing(container: Container, data: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, container, Tags({"artist": "Known"}, Cover("image/jpeg", data)))
    assert len(decode_here(path)[0]) >= 20_000 and by_ffmpeg(path)["artist"] == "Known"
    assert path.stat().st_size < 2**20


def test_a_flac_says_what_libflac_counted(tmp_path: Path) -> None:
    """Sizes of frames, the number of samples and their MD5 come at the end, into the begin of the file."""
    tagged = write(tmp_path / "tagged", "flac", Tags(VALUES, PHOTO)).read_bytes()
    samples, rate = soundfile.read(tmp_path / "tagged" / "vocals.flac", dtype="int16")
    soundfile.write(tmp_path / "plain.flac", samples, rate, "PCM_16")
    plain = (tmp_path / "plain.flac").read_bytes()
    assert tagged[:42] == plain[:42] and tagged[26:42] == hashlib.md5(samples.tobytes()).digest()
    frames = plain[plain.index(b"\xff\xf8\xc9") :]
    assert len(frames) > 40_000 and tagged.endswith(frames)


def chunks_of(wav: bytes) -> dict[bytes, bytes]:
    """The chunks that lie between the header and the end that the sizes say, in their order."""
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at < len(wav):
        name, size = wav[at : at + 4], int.from_bytes(wav[at + 4 : at + 8], "little")
        if size == 2**32 - 1:  # RF64 says it in its first chunk
            size = int.from_bytes(chunks[b"ds64"][8:16], "little")
        chunks[name] = wav[at + 8 : at + 8 + size]
        assert len(chunks[name]) == size
        at += 8 + size + size % 2
    assert at == len(wav)
    return chunks


@pytest.mark.parametrize("format", [make_format("wav"), WAV_24, WAV_FLOAT], ids=str)
@pytest.mark.parametrize("limit", [sndfile.RIFF_LIMIT, 1_000], ids=["RIFF", "RF64"])
@pytest.mark.parametrize("cover", [COVER, Cover("image/png", b"odd"), None], ids=["png", "odd", "none"])
def test_a_wavs_chunks(
    cover: Cover | None, limit: int, format: OutputFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sndfile, "RIFF_LIMIT", limit)
    sink = DirectorySink(tmp_path, format)
    sink.open(44_100, 1, ["vocals"], 20_001, Tags(VALUES, cover))
    sink.write("vocals", np.full((20_001, 1), 0.25, np.float32))
    sink.commit()
    wav = sink.path("vocals").read_bytes()
    chunks = chunks_of(wav)
    assert list(chunks)[-1] == b"id3 " and list(chunks).index(b"LIST") < list(chunks).index(b"data")
    if limit == 1_000:
        assert wav[:4] == b"RF64" and int.from_bytes(chunks[b"ds64"][:8], "little") == len(wav) - 8
    else:
        assert wav[:4] == b"RIFF" and int.from_bytes(wav[4:8], "little") == len(wav) - 8
    with soundfile.SoundFile(sink.path("vocals")) as file:
        assert file.title == f"{VALUES['title']} (vocals)" and file.artist == VALUES["artist"]
        assert file.frames == 20_001 and set(file.read()) == {0.25}
    assert len(decode_here(sink.path("vocals"))[0]) == 20_001
    with decode(sink.path("vocals"), DecodeLimits()) as decoding:
        found = decoding.tags
    assert found.values.items() >= {**VALUES, "title": f"{VALUES['title']} (vocals)"}.items()
    assert found.cover == (cover if cover is COVER else None)


def test_a_wav_that_has_no_room_for_a_cover_stays_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sndfile, "LARGEST_RIFF", 81_000)
    plain = write(tmp_path / "plain", "wav", None)
    path = write(tmp_path / "full", "wav", Tags({"artist": "Known"}, PHOTO))
    assert list(chunks_of(path.read_bytes())) == [b"fmt ", b"LIST", b"data"]
    np.testing.assert_array_equal(decode_here(path)[0], decode_here(plain)[0])


def test_long_values_do_not_fill_the_header_of_a_wav(tmp_path: Path) -> None:
    values = dict.fromkeys(tagging.INFO_FIELDS, "💣" * 10_000)
    path = write(tmp_path, "wav", Tags({**values, "artist": "Known"}))
    chunks = chunks_of(path.read_bytes())
    assert b"Known" in chunks[b"LIST"] and len(chunks[b"LIST"]) < 100 and "💣".encode() in chunks[b"id3 "]
    assert len(decode_here(path)[0]) == 20_000


@pytest.mark.parametrize("container", ["mp3", "wav"])
def test_id3_has_the_frames_that_players_look_for(container: Container, tmp_path: Path) -> None:
    more = {"comment": "ünïcode", "lyrics": "La\nla", "bpm": "120", "compilation": "1", "artist-sort": "Ros"}
    file: Any = mutagen.File(write(tmp_path, container, Tags({**VALUES, **more}, COVER)))
    assert file.tags.version == (2, 4, 0)
    frames = {"COMM::und", "USLT::und", "TBPM", "TCMP", "TSOP", "TIT2", "TPE1", "TDRC", "TRCK", "APIC:"}
    assert file.tags.keys() >= frames
    assert file.tags["COMM::und"].text == ["ünïcode"] and file.tags["USLT::und"].text == "La\nla"
    assert (file.tags["APIC:"].mime, int(file.tags["APIC:"].type)) == ("image/png", 3)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("1969", "1969"),
        ("1969-07-20", "1969-07-20"),
        ("1969/07/20", "1969-07-20"),
        ("1969-07-20 20:17", "1969-07-20T20:17"),
        ("1969-7", "1969"),
        ("summer 1969", None),
        ("69", None),
    ],
)
def test_dates_that_id3_has_no_figures_for(said: str, kept: str | None, tmp_path: Path) -> None:
    file: Any = mutagen.File(write(tmp_path, "mp3", Tags({"date": said, "artist": "Known"})))
    date = file.tags.get("TDRC")
    assert (None if date is None else date.text[0].text.replace(" ", "T")) == kept


@pytest.mark.parametrize(
    ("value", "kept"),
    [("3/8", "3/8"), ("03", "3"), ("3/", "3"), ("a", None), ("1/2/3", None), ("70000", None), ("-1/2", None)],
)
def test_numbers_that_mp4_has_no_room_for(value: str, kept: str | None) -> None:
    assert tagging.mp4_values(Tags({"track": value})).get("track") == kept


def test_the_title_says_which_stem_it_is() -> None:
    assert Tags({"title": "Song", "album": "A"}).for_stem("drums") == Tags({"title": "Song (drums)", "album": "A"})
    assert Tags({"album": "A"}, COVER).for_stem("drums") == Tags({"album": "A"}, COVER)

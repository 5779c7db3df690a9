"""Comments that are put into an Ogg Vorbis stream while libsndfile writes it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from mutagen.flac import Picture
from mutagen.oggvorbis import OggVorbis

from engine.encoders.ogg import HEADER, RetaggedOgg, make_page, make_pages, page_crc
from engine.tags import Cover, Tags
from tests.engine.audio_files import decode_here

FRAMES = 300_000


@dataclass(frozen=True)
class Page:
    flags: int
    granule: int
    serial: int
    number: int
    crc: int
    lacing: bytes
    body: bytes
    whole: bytes


def pages_of(stream: bytes) -> list[Page]:
    pages, at = [], 0
    while at < len(stream):
        _, _, flags, granule, serial, number, crc, count = HEADER.unpack_from(stream, at)
        lacing = stream[at + HEADER.size : at + HEADER.size + count]
        end = at + HEADER.size + count + sum(lacing)
        body = stream[at + HEADER.size + count : end]
        pages.append(Page(flags, granule, serial, number, crc, lacing, body, stream[at:end]))
        at = end
    return pages


@pytest.fixture(scope="module")
def stream() -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (FRAMES, 2)).astype(np.float32)
    with soundfile.SoundFile(file, "w", 44_100, 2, "VORBIS", format="OGG") as sound:
        for start in range(0, FRAMES, 4_000):
            sound.write(noise[start : start + 4_000])
    return file.getvalue()


def retagged(stream: bytes, tags: Tags, piece: int = 10_000) -> bytes:
    ogg = RetaggedOgg(tags)
    return b"".join(ogg.feed(stream[start : start + piece]) for start in range(0, len(stream), piece))


def test_checksums_are_those_of_libogg(stream: bytes) -> None:
    pages = pages_of(stream)
    assert len(pages) > 20
    for page in pages:
        assert page_crc(page.whole[:22] + bytes(4) + page.whole[26:]) == page.crc
        assert make_page(page.flags, page.granule, page.serial, page.number, page.lacing, page.body) == page.whole


@pytest.mark.parametrize("size", [0, 100, 63_000, 64_769, 65_025, 3_000_000])
def test_the_sound_stays_as_it_was(stream: bytes, size: int, tmp_path: Path) -> None:
    cover = Cover("image/png", np.random.default_rng(1).bytes(size)) if size else None
    made = retagged(stream, Tags({"title": "Song", "lyrics": "La\nla"}, cover))
    before, after = pages_of(stream), pages_of(made)
    assert [page.number for page in after] == list(range(len(after)))
    assert len({page.serial for page in after}) == 1
    for page in after:
        assert page_crc(page.whole[:22] + bytes(4) + page.whole[26:]) == page.crc
    # Behind the headers, pages differ in their numbers and checksums only.
    sound = [(page.flags, page.granule, page.lacing, page.body) for page in after if page.granule > 0]
    assert sound == [(page.flags, page.granule, page.lacing, page.body) for page in before if page.granule > 0]
    (tmp_path / "before.ogg").write_bytes(stream)
    (tmp_path / "after.ogg").write_bytes(made)
    old, new = (tmp_path / name for name in ("before.ogg", "after.ogg"))
    np.testing.assert_array_equal(decode_here(new)[0], decode_here(old)[0])
    np.testing.assert_array_equal(soundfile.read(new)[0], soundfile.read(old)[0])
    assert soundfile.info(new).frames == FRAMES
    file = OggVorbis(new)
    assert file["title"] == ["Song"] and file["lyrics"] == ["La\nla"]
    pictures = [Picture(base64.b64decode(value)) for value in file.get("metadata_block_picture", [])]
    assert [(picture.type, picture.mime, picture.data) for picture in pictures] == (
        [(3, "image/png", cover.data)] if cover else []
    )


def test_the_same_sound_is_the_same_file_and_another_title_another_stream(stream: bytes) -> None:
    again = b"".join(
        make_page(page.flags, page.granule, 1234, page.number, page.lacing, page.body) for page in pages_of(stream)
    )
    made, other = retagged(stream, Tags({"title": "Song (vocals)"})), retagged(stream, Tags({"title": "Song (drums)"}))
    assert again != stream and retagged(again, Tags({"title": "Song (vocals)"})) == made
    assert pages_of(made)[0].serial != pages_of(other)[0].serial


@pytest.mark.parametrize("piece", [1, 27, 4_096, 1 << 30])
def test_pieces_of_any_size(stream: bytes, piece: int) -> None:
    tags = Tags({"title": "Song"}, Cover("image/jpeg", bytes(100_000)))
    start = stream[:60_000]
    assert retagged(start, tags, piece) == retagged(start, tags)


@pytest.mark.parametrize(
    "sizes", [(0, 1), (255, 10), (254, 255 * 255), (255 * 255, 3), (255 * 255 - 1, 3), (255 * 254, 255), (200_000, 5)]
)
def test_headers_of_any_size_come_back_from_their_pages(sizes: tuple[int, int]) -> None:
    packets = [np.random.default_rng(size).bytes(size) for size in sizes]
    pages = [page for whole in make_pages(packets, 7, 1) for page in pages_of(whole)]
    found, unfinished = [b""], False
    for page in pages:
        assert (page.flags == 1) == unfinished
        assert page.granule == (0 if min(page.lacing) < 255 else -1)
        at = 0
        for size in page.lacing:
            found[-1] += page.body[at : at + size]
            at += size
            unfinished = size == 255
            if not unfinished:
                found.append(b"")
    assert found == [*packets, b""]


def test_what_is_no_ogg() -> None:
    with pytest.raises(ValueError, match="no page"):
        RetaggedOgg(Tags()).feed(bytes(100))

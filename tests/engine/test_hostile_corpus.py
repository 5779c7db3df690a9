"""Every format with every kind of damage: the outcome of each is stated here, and nothing is left behind.

An outcome is the code of the error that is raised, or how much of the song came ("whole", "less", "more")
with the words that the receipt has for it.
"""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from engine.audio import Samples
from engine.audio_io import DecodeLimits, cool_decoder, decode, probe
from engine.errors import EngineError
from engine.receipt import is_truncated
from tests.engine import decoders
from tests.engine.audio_files import encode
from tests.engine.hostile_files import DAMAGES, FORMATS, HLS, RATE, write_song

pytestmark = pytest.mark.timeout(600)
LIMITS = DecodeLimits(seconds=60, wait_seconds=30)
SHORT = DecodeLimits(seconds=0.5, wait_seconds=30)
BAD = "audio_undecodable"
CUT_SHORT = "less, truncated"
PROBED = ("longer than the cap", "lying size")

EXPECTED: dict[str, dict[str, str]] = {
    # Nothing in an MP3, AAC or FLAC stream counts from its start: what is there plays, and less is declared.
    "head cut": dict.fromkeys(FORMATS, BAD) | {"mp3": "less", "aac": "less", "flac": "less, damaged"},
    "middle cut": dict.fromkeys(FORMATS, CUT_SHORT)
    | {"mp3": "less, truncated, damaged", "aac": "less, damaged", "m4a": BAD},
    # A short Opus or Vorbis song has few pages, and what is left of the cut one is lost. MP4's index is last.
    "tail cut": dict.fromkeys(FORMATS, CUT_SHORT)
    | {"flac": "less, truncated, damaged", "aac": "less, damaged", "opus": BAD, "ogg": "less, cut off"}
    | {"m4a": BAD},
    # PCM can't tell; MP3 has no checksums. Ogg's pages have them, and its headers are a page of their own.
    "bits flipped": dict.fromkeys(FORMATS, "whole")
    | {"flac": "less, truncated, damaged", "opus": CUT_SHORT, "m4a": "less, damaged"}
    | {"aac": "less, damaged", "ogg": BAD},
    "half zeroed": dict.fromkeys(FORMATS, "whole")
    | {"mp3": "less, truncated, damaged", "flac": "less, truncated, damaged", "opus": "less, cut off"}
    | {"ogg": "less, cut off", "aac": "less, truncated, damaged", "m4a": BAD},
    "wrong extension": dict.fromkeys(FORMATS, "whole"),
    "longer than the cap": dict.fromkeys(FORMATS, "audio_too_long"),
    # FFmpeg takes a name's word for FLAC, and finds no frame in it.
    "playlist": dict.fromkeys(FORMATS, BAD) | {"flac": "audio_empty"},
    "huge header": dict.fromkeys(FORMATS, BAD) | {"mp3": "whole", "flac": "whole", "aac": "whole"},
    # MP4's sample table is believed, not the lengths in its headers. An AAC frame that claims its neighbours
    # costs itself; MP3's count also says how much of the end is padding.
    "lying size": dict.fromkeys(FORMATS, "whole, truncated")
    | {"m4a": "whole", "aac": "less", "mp3": "more, truncated", "opus": "more, truncated"},
    "picture in front": dict.fromkeys(FORMATS, BAD),
    # Streams go on; containers end where their header says. MP3's second header is a frame that isn't sound.
    "twice": dict.fromkeys(FORMATS, "whole")
    | {"mp3": "more, damaged", "flac": "more", "opus": "more", "aac": "more", "ogg": "more"},
}
PROBE_EXPECTED = {
    # Probing counts by the pages' own positions: the last one's is the lie.
    ("ogg", "lying size"): "audio_too_long",
}


@dataclass(frozen=True)
class Corpus:
    outcomes: dict[tuple[str, str], str]
    probed: dict[tuple[str, str], str | None]
    """The code of the error, None for none."""
    left: set[str]
    """Files beside the corpus, descriptors and processes that were not there before."""
    called: bool
    """Whether anybody connected to the address in the playlists."""


def outcome(path: Path, limits: DecodeLimits, whole: int) -> str:
    try:
        with decode(path, limits) as decoding:
            frames = sum(len(block) for block in decoding.blocks() if np.isfinite(block).all())
            report = decoding.report
    except EngineError as error:
        return error.code
    assert report is not None
    assert report.frames == frames
    words = ["whole" if frames == whole else "less" if frames < whole else "more"]
    if report.declared_seconds is not None and is_truncated(report.declared_seconds, frames / RATE):
        words.append("truncated")
    if report.damaged_packets:
        words.append("damaged")
    if report.cut_off:
        words.append("cut off")
    return ", ".join(words)


def probe_outcome(path: Path, limits: DecodeLimits) -> str | None:
    try:
        probe(path, limits)
    except EngineError as error:
        return error.code
    return None


def holdings(folder: Path) -> set[str]:
    files = {str(path) for path in folder.rglob("*")}
    descriptors = {f"fd {name} {os.readlink(f'/proc/self/fd/{name}')}" for name in _descriptors()}
    return files | descriptors | {f"child {child.pid}" for child in decoders.children()}


def _descriptors() -> list[str]:
    return [name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")]


@pytest.fixture(scope="module")
def corpus(music: Samples, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two at a time: each is a process of its own, and waits for nothing but the processor."""
    cool_decoder()
    folder = tmp_path_factory.mktemp("corpus")
    song = soxr.resample(music, 44100, RATE).astype(np.float32)
    jobs: dict[tuple[str, str], tuple[Path, DecodeLimits, int]] = {}
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(2) as pool:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/song.mp3"
        for format in FORMATS:
            path = write_song(folder / f"whole.{format}", song)
            whole = path.read_bytes()
            with decode(path, LIMITS) as decoding:
                frames = sum(map(len, decoding.blocks()))
            for damage, spoil in DAMAGES.items():
                suffix = "mp3" if damage == "wrong extension" and format != "mp3" else format
                suffix = "flac" if damage == "wrong extension" and format == "mp3" else suffix
                spoilt = folder / f"{format} {damage}.{suffix}"
                spoilt.write_bytes(HLS.format(url=url).encode() if damage == "playlist" else spoil(whole, format))
                limits = SHORT if damage == "longer than the cap" else LIMITS
                jobs[format, damage] = (spoilt, limits, frames)
        before = holdings(folder)
        outcomes = dict(zip(jobs, pool.map(lambda job: outcome(*job), jobs.values()), strict=True))
        some = [case for case in jobs if case[1] in PROBED]
        probed = dict(zip(some, pool.map(lambda case: probe_outcome(*jobs[case][:2]), some), strict=True))
        left = holdings(folder) - before
        server.setblocking(False)
        try:
            server.accept()[0].close()
            called = True
        except BlockingIOError:
            called = False
    return Corpus(outcomes, probed, left, called)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("format", FORMATS)
def test_outcome(format: str, damage: str, corpus: Corpus) -> None:
    assert corpus.outcomes[format, damage] == EXPECTED[damage][format]


@pytest.mark.parametrize("damage", PROBED)
@pytest.mark.parametrize("format", FORMATS)
def test_probing_refuses_what_decoding_refuses(format: str, damage: str, corpus: Corpus) -> None:
    decoded = EXPECTED[damage][format]
    refused = decoded if decoded.startswith("audio_") else None
    assert corpus.probed[format, damage] == PROBE_EXPECTED.get((format, damage), refused)


def test_nothing_is_left_of_the_whole_corpus(corpus: Corpus) -> None:
    assert corpus.left == set()


def test_playlists_call_nobody(corpus: Corpus) -> None:
    assert not corpus.called


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("song.wav", "pcm_f32le"),
        ("song.wav", "pcm_f64le"),
        ("song.aiff", "pcm_f32be"),
        ("song.w64", "pcm_f32le"),
        ("song.mov", "pcm_f32le"),
        ("song.mov", "pcm_f64be"),
    ],
)
def test_floats_that_are_no_numbers(name: str, codec: str, tmp_path: Path, music: Samples) -> None:
    spoilt = music.copy()
    spoilt[100, 0], spoilt[200, 1], spoilt[300] = np.nan, np.inf, -np.inf
    path = encode(tmp_path / name, spoilt, 44100, codec)
    with decode(path, LIMITS) as decoding:
        samples = np.concatenate(list(decoding.blocks()))
    assert decoding.report is not None
    assert decoding.report.nonfinite_samples == 4
    np.testing.assert_array_equal(samples, np.where(np.isfinite(spoilt), spoilt, 0))


def test_doubles_beyond_float32_become_silence(tmp_path: Path) -> None:
    values = np.array([[0.5], [1e300], [-1e300], [0.25]])
    soundfile.write(tmp_path / "song.wav", values, 44100, subtype="DOUBLE")
    with decode(tmp_path / "song.wav", LIMITS) as decoding:
        samples = np.concatenate(list(decoding.blocks()))
    assert decoding.report is not None
    assert decoding.report.nonfinite_samples == 2
    np.testing.assert_array_equal(samples[:, 0], [0.5, 0, 0, 0.25])

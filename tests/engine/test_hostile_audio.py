"""Files that are not what they say, and a decoder that does not behave: each ends in its own error."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.audio import Samples
from engine.audio_io import DecodeLimits, DecodeReport, decode, probe
from engine.decoder.process import COMMAND
from engine.errors import (
    AudioEmpty,
    AudioHostile,
    AudioTooLong,
    AudioUndecodable,
    DecoderCrashed,
    EngineError,
)
from tests.engine import decoders
from tests.engine.audio_files import encode

LIMITS = DecodeLimits(seconds=60)
LIMITS_LONG = DecodeLimits(seconds=600)
FORMATS = "it is not one of the formats that are read: mp3, wav, flac, ogg, m4a/aac, opus, aiff"


def report_of(path: Path, limits: DecodeLimits = LIMITS) -> DecodeReport:
    with decode(path, limits) as decoding:
        for _ in decoding.blocks():
            pass
        assert decoding.report is not None
        return decoding.report


def assert_refused(path: Path, error: type[EngineError], match: str | None = None) -> None:
    with pytest.raises(error, match=match):
        probe(path, LIMITS)
    with pytest.raises(error, match=match):
        report_of(path)


def write_wav(path: Path, data: bytes, rate: int = 44100, bits: int = 16, size: int | None = None) -> Path:
    """A mono WAV of whole numbers, whose header claims `size` bytes of data."""
    bytes_each = bits // 8
    layout = struct.pack("<HHIIHH", 1, 1, rate, rate * bytes_each, bytes_each, bits)
    claimed = struct.pack("<I", len(data) if size is None else size)
    riff = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + b"data" + claimed + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(riff)) + riff)
    return path


def hear(path: Path, limits: DecodeLimits, heard: list[int]) -> None:
    with decode(path, limits) as decoding:
        heard.extend(len(block) for block in decoding.blocks())


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "song.mp3").touch()
    assert_refused(tmp_path / "song.mp3", AudioEmpty)


def test_text_as_mp3(tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_text("These are the words of a song, and not its sound.\n" * 200)
    assert_refused(tmp_path / "song.mp3", AudioUndecodable)


def test_random_bytes(tmp_path: Path) -> None:
    (tmp_path / "song.wav").write_bytes(np.random.default_rng(0).bytes(50_000))
    assert_refused(tmp_path / "song.wav", AudioUndecodable)


def test_picture(tmp_path: Path) -> None:
    pixels = b"\x89PNG\r\n\x1a\n" + np.random.default_rng(0).bytes(5000)
    (tmp_path / "song.mp3").write_bytes(pixels)
    assert_refused(tmp_path / "song.mp3", AudioUndecodable)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile other.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nother.wav\n#EXT-X-ENDLIST\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
    ],
)
def test_playlists_open_no_other_file(text: str, tmp_path: Path, music: Samples) -> None:
    soundfile.write(tmp_path / "other.wav", music, 44100)
    (tmp_path / "song.mp3").write_text(text)
    assert_refused(tmp_path / "song.mp3", AudioUndecodable, FORMATS)


@pytest.mark.parametrize(
    ("name", "codec"), [("song.mka", "pcm_s16le"), ("song.au", "pcm_s16be"), ("song.avi", "pcm_s16le")]
)
def test_other_formats_are_told_what_is_read(name: str, codec: str, tmp_path: Path, music: Samples) -> None:
    encode(tmp_path / name, music, 44100, codec)
    assert_refused(tmp_path / name, AudioUndecodable, f"audio: {FORMATS}")


@pytest.mark.parametrize("rate", [1, 3, 3999, 768_001, 2**31 - 1])
def test_rates_that_music_does_not_have(rate: int, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "song.wav", b"\x90" * 600, rate, bits=8)
    assert_refused(path, AudioUndecodable, f"its sample rate of {rate} Hz is not one that music has")


def test_samples_of_64_bits(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "song.wav", bytes(8 * 44100), bits=64)
    assert_refused(path, AudioUndecodable, "its samples are pcm_s64le; of uncompressed audio, integers of 8 to 32 bits")


def test_codecs_of_other_uses(tmp_path: Path, music: Samples) -> None:
    path = encode(tmp_path / "song.wav", music, 44100, "adpcm_ima_wav")
    assert_refused(path, AudioUndecodable, "its codec adpcm_ima_wav is not one that is read")


def test_what_the_decoder_does_not_expect_is_no_crash() -> None:
    """A path that is none stands for whatever raises: the child answers, and what it says is not transient."""
    request = {"path": None, "task": "probe", "cpu_seconds": 10, "memory_bytes": 2**30}
    line = json.dumps(request).encode() + b"\n"
    done = subprocess.run(COMMAND, input=line, capture_output=True, check=True)
    assert done.stdout[:1] == b"E"
    message = json.loads(done.stdout[5:])
    assert message["kind"] == "undecodable"
    assert "TypeError" in message["reason"]
    assert not AudioUndecodable.transient


@pytest.mark.parametrize("name", ["concat:a.wav|b.wav", "-i.wav", "http:song.wav", "söng ☃.wav"])
def test_names_are_only_names(name: str, tmp_path: Path, music: Samples) -> None:
    soundfile.write(tmp_path / "plain.wav", music, 44100)
    path = (tmp_path / "plain.wav").rename(tmp_path / name)
    assert report_of(path).frames == len(music)


def test_wav_without_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", np.zeros((0, 2), np.float32), 44100)
    assert_refused(tmp_path / "song.wav", AudioEmpty)


def test_truncated_mp3_gives_what_is_there(tmp_path: Path, example: Path) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(example.read_bytes()[:400_000])
    report = report_of(path)
    assert report.declared_seconds == pytest.approx(133, abs=1)
    assert report.frames / 44100 == pytest.approx(25, abs=0.5)
    assert probe(path, LIMITS).seconds == pytest.approx(25, abs=0.5)


def test_truncated_wav_gives_what_is_there(tmp_path: Path, music: Samples) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, music, 44100, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[: 44 + 4 * 30_000])
    report, info = report_of(path), probe(path, LIMITS)
    assert report.frames == 30_000
    assert info.seconds == pytest.approx(30_000 / 44100, abs=0.01)
    assert report.declared_seconds == info.declared_seconds == pytest.approx(len(music) / 44100)


def test_wav_data_twice_as_long_as_the_file(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "song.wav", bytes(2 * 44100), size=4 * 44100)
    info = probe(path, LIMITS)
    assert info.seconds == pytest.approx(1, abs=0.01)
    assert info.declared_seconds == pytest.approx(2)


def test_truncated_rf64(tmp_path: Path, music: Samples) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, music, 44100, subtype="PCM_16", format="RF64")
    path.write_bytes(path.read_bytes()[: 4 * 30_000])
    assert probe(path, LIMITS).declared_seconds == pytest.approx(len(music) / 44100)


def test_truncated_w64(tmp_path: Path, music: Samples) -> None:
    path = encode(tmp_path / "song.w64", music, 44100, "pcm_s16le")
    path.write_bytes(path.read_bytes()[: 4 * 30_000])
    report = report_of(path)
    assert report.declared_seconds == pytest.approx(len(music) / 44100)
    assert report.frames == pytest.approx(30_000, abs=40)
    assert probe(path, LIMITS).declared_seconds == report.declared_seconds


def test_truncated_ogg(tmp_path: Path, music: Samples) -> None:
    path = tmp_path / "song.ogg"
    soundfile.write(path, music, 44100, format="OGG", subtype="VORBIS")
    assert not report_of(path).cut_off
    path.write_bytes(path.read_bytes()[:-100])
    assert report_of(path).cut_off


def test_wav_of_nothing_but_chunks(tmp_path: Path) -> None:
    """The search for the data gives up, and a last chunk that reaches beyond the file leads nowhere."""
    (tmp_path / "song.wav").write_bytes(b"RIFF\xff\xff\xff\xffWAVE" + b"junk\0\0\0\0" * 10_000)
    assert_refused(tmp_path / "song.wav", AudioUndecodable)
    path = write_wav(tmp_path / "more.wav", bytes(2 * 44100))
    content = path.read_bytes()
    path.write_bytes(content[:36] + b"junk\0\0\0\0" * 1000 + content[36:])
    assert report_of(path).declared_seconds == pytest.approx(1)


@pytest.mark.parametrize("claimed", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_wav_headers_of_pipes_are_not_believed(claimed: int, tmp_path: Path, music: Samples) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, music, 44100, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    assert content[36:40] == b"data"
    content[40:44] = struct.pack("<I", claimed)
    path.write_bytes(content)
    assert report_of(path).frames == len(music)
    info = probe(path, LIMITS)
    assert info.seconds == pytest.approx(len(music) / 44100, abs=0.01)
    assert info.declared_seconds == pytest.approx(len(music) / 44100, abs=0.01)


def test_truncated_m4a(music: Samples, tmp_path: Path) -> None:
    path = encode(tmp_path / "song.m4a", music, 44100, "aac")
    path.write_bytes(path.read_bytes()[:5000])  # its index is at the end
    assert_refused(path, AudioUndecodable)


def test_flac_bomb_stops_at_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "song.flac"
    with soundfile.SoundFile(path, "w", 44100, 2, "PCM_16") as file:
        for _ in range(12):
            file.write(np.zeros((44100 * 100, 2), np.int16))
    assert path.stat().st_size < 1_000_000
    limits = DecodeLimits(seconds=10)
    with pytest.raises(AudioTooLong):
        probe(path, limits)
    heard: list[int] = []
    with pytest.raises(AudioTooLong):
        hear(path, limits, heard)
    frames = sum(heard)
    assert 10 * 44100 <= frames <= 12 * 44100
    assert not decoders.children()


def test_pipes_are_not_read(tmp_path: Path) -> None:
    """A pipe that nobody writes to would be waited for."""
    os.mkfifo(tmp_path / "song.wav")
    assert_refused(tmp_path / "song.wav", AudioEmpty)


def test_cpu_limit(example: Path) -> None:
    """Zero seconds are used up before the file is open."""
    with pytest.raises(AudioHostile):
        report_of(example, DecodeLimits(cpu_seconds=0))


def test_memory_limit(example: Path) -> None:
    with pytest.raises(AudioHostile):
        report_of(example, DecodeLimits(memory_bytes=2**20))


def test_deadline(example: Path) -> None:
    """Nothing can answer within no time at all."""
    with pytest.raises(AudioHostile, match="longer than 0 seconds"):
        probe(example, DecodeLimits(wait_seconds=0))
    assert not decoders.children()


def test_killed_decoder_is_worth_another_attempt(example: Path) -> None:
    with decode(example, LIMITS_LONG) as decoding:
        blocks = decoding.blocks()
        next(blocks)
        os.kill(decoders.children()[0].pid, signal.SIGKILL)
        with pytest.raises(DecoderCrashed, match="SIGKILL") as caught:
            list(blocks)
    assert caught.value.transient


def test_leaving_early_ends_the_decoder(example: Path) -> None:
    with decode(example, LIMITS_LONG) as decoding:
        next(decoding.blocks())
        (child,) = decoders.children()
        assert os.getpgid(child.pid) == child.pid
    deadline = time.monotonic() + 5
    while child.is_running() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not child.is_running()

"""Honest files: every format that we read, counted to the sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from engine.audio import Samples
from engine.audio_io import DecodeLimits, decode, probe
from tests.engine.audio_files import decode_here, encode

LIMITS = DecodeLimits(seconds=60)
FORMATS = [
    ("song.mp3", "libmp3lame", 44100),
    ("song.mp3", "libmp3lame", 22050),
    ("song.wav", "pcm_s16le", 44100),
    ("song.wav", "pcm_s24le", 192000),
    ("song.wav", "pcm_u8", 8000),
    ("song.wav", "pcm_f32le", 48000),
    ("song.flac", "flac", 96000),
    ("song.m4a", "aac", 44100),
    ("song.m4a", "alac", 44100),
    ("song.aac", "aac", 48000),
    ("song.opus", "libopus", 48000),
    ("song.ogg", "libopus", 48000),
    ("song.aiff", "pcm_s16be", 44100),
    ("song.w64", "pcm_s16le", 44100),
]


def read(path: Path, limits: DecodeLimits = LIMITS) -> Samples:
    with decode(path, limits) as decoding:
        blocks = list(decoding.blocks())
        assert decoding.report is not None
        assert decoding.report.frames == sum(map(len, blocks))
    return np.concatenate(blocks)


@pytest.mark.parametrize(("name", "codec", "rate"), FORMATS)
def test_every_format_decodes_to_the_sample(name: str, codec: str, rate: int, music: Samples, tmp_path: Path) -> None:
    path = encode(tmp_path / name, soxr.resample(music, 44100, rate), rate, codec)
    here, here_rate = decode_here(path)
    info = probe(path, LIMITS)
    assert (info.rate, info.channels) == (here_rate, 2)
    # Packets of the encoder's padding count too: one or two of them.
    assert info.seconds == pytest.approx(len(here) / here_rate, abs=0.1)
    samples = read(path)
    assert samples.shape == here.shape
    if here.dtype == np.float32:
        np.testing.assert_array_equal(samples, here)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(np.sqrt(np.mean(music**2)), rel=0.1)


def test_ogg_vorbis_decodes_to_the_sample(tmp_path: Path, music: Samples) -> None:
    path = tmp_path / "song.ogg"
    soundfile.write(path, music, 44100, format="OGG", subtype="VORBIS")
    assert read(path).shape == decode_here(path)[0].shape
    assert probe(path, LIMITS).seconds == pytest.approx(len(music) / 44100, abs=0.06)


def test_sixteen_bits_come_through_unchanged(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(-32768, 32768, (5000, 2)).astype(np.int16)
    soundfile.write(tmp_path / "noise.wav", values, 44100)
    np.testing.assert_array_equal(read(tmp_path / "noise.wav") * 32768, values)


@pytest.mark.parametrize(
    ("codec", "names"),
    [
        ("pcm_u8", ["song.wav"]),
        ("pcm_s8", ["song.aiff"]),
        ("pcm_s16le", ["song.wav", "song.w64", "song.mov", "song.aiff"]),
        ("pcm_s16be", ["song.aiff", "song.mov"]),
        ("pcm_s24le", ["song.wav", "song.mov"]),
        ("pcm_s24be", ["song.aiff"]),
        ("pcm_s32le", ["song.wav", "song.mov"]),
        ("pcm_s32be", ["song.aiff"]),
        ("pcm_f32le", ["song.wav", "song.mov"]),
        ("pcm_f32be", ["song.aiff"]),
        ("pcm_f64le", ["song.wav", "song.mov"]),
        ("pcm_f64be", ["song.aiff"]),
        ("pcm_alaw", ["song.wav", "song.aiff"]),
        ("pcm_mulaw", ["song.wav", "song.aiff"]),
    ],
)
def test_uncompressed_samples_come_through(codec: str, names: list[str], tmp_path: Path, music: Samples) -> None:
    coarse = {"pcm_u8": 2.0**-7, "pcm_s8": 2.0**-7, "pcm_alaw": 2.0**-5, "pcm_mulaw": 2.0**-5}
    song = np.clip(music, -1, 1)
    for name in names:
        path = encode(tmp_path / name, song, 44100, codec)
        info = probe(path, LIMITS)
        assert info.codec == codec
        assert info.declared_seconds == pytest.approx(2)
        np.testing.assert_allclose(read(path), song, rtol=0, atol=coarse.get(codec, 2.0**-15))


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 192_000, 384_000, 768_000])
def test_rates_that_are_read(rate: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(2).integers(-32768, 32768, (rate, 1)).astype(np.int16)
    soundfile.write(tmp_path / "noise.wav", noise, rate)
    info = probe(tmp_path / "noise.wav", LIMITS)
    assert info.rate == rate
    assert info.seconds == pytest.approx(1)
    assert info.declared_seconds == pytest.approx(1)
    np.testing.assert_array_equal(read(tmp_path / "noise.wav") * 32768, noise)


def test_mono_stays_mono(music: Samples, tmp_path: Path) -> None:
    path = encode(tmp_path / "mono.flac", music[:, :1], 44100, "flac", "mono")
    assert probe(path, LIMITS).channels == 1
    assert read(path).shape == (len(music), 1)


def test_surround_is_mixed_down_by_bs775(tmp_path: Path) -> None:
    # One pulse a channel, each at its own time: FL FR FC LFE SL SR.
    samples = np.zeros((7000, 6), np.float32)
    for channel in range(6):
        samples[1000 * (channel + 1), channel] = 0.5
    path = encode(tmp_path / "surround.wav", samples, 48000, "pcm_f32le", "5.1")
    assert probe(path, LIMITS).channels == 6
    with decode(path, LIMITS) as decoding:
        stereo = np.concatenate(list(decoding.blocks()))
        assert decoding.report is not None
        assert decoding.report.downmixed
    pulses = stereo[1000:7000:1000] / 0.5
    expected = np.array([[1, 0], [0, 1], [0.7071, 0.7071], [0, 0], [0.7071, 0], [0, 0.7071]])
    np.testing.assert_allclose(pulses, expected, atol=1e-6)


def test_values_that_are_no_numbers_become_silence(tmp_path: Path, music: Samples) -> None:
    spoilt = music.copy()
    spoilt[100, 0], spoilt[200, 1], spoilt[300, 0] = np.nan, np.inf, -np.inf
    soundfile.write(tmp_path / "nan.wav", spoilt, 44100, subtype="FLOAT")
    with decode(tmp_path / "nan.wav", LIMITS) as decoding:
        samples = np.concatenate(list(decoding.blocks()))
        assert decoding.report is not None
        assert decoding.report.nonfinite_samples == 3
    np.testing.assert_array_equal(samples, np.where(np.isfinite(spoilt), spoilt, 0))

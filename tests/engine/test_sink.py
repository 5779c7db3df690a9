"""Stems written as each format and read again: by the engine's own decoder, by libsndfile, by PyAV."""

from __future__ import annotations

import errno
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from engine.audio import Samples
from engine.audio_io import DecodeLimits, decode
from engine.encoders import sndfile
from engine.encoders.prepare import round_to_depth
from engine.formats import WAV_24, WAV_FLOAT, Output, OutputFormat, make_format
from engine.sink import DirectorySink, NullSink
from engine.tags import Cover, Tags
from tests.engine.audio_files import decode_here

LIMITS = DecodeLimits()
LOSSLESS = [make_format("wav"), WAV_24, make_format("flac"), make_format("flac", 24)]
LOSSY = [make_format("mp3"), make_format("ogg"), make_format("m4a")]
ALL = [*LOSSLESS, WAV_FLOAT, *LOSSY]


def named(value: Any) -> str | None:
    if isinstance(value, OutputFormat):
        return f"{value.container}-{value.bit_depth or value.bit_rate}"
    return None


def song(frames: int, rate: int = 44_100, channels: int = 2, seed: int = 0) -> Samples:
    """Tones with a little noise, peak near 0.6, (frames, channels)."""
    time = np.arange(frames)[:, None] / rate
    tones = 0.3 * np.sin(2 * np.pi * 440 * time + np.arange(channels)) + 0.2 * np.sin(2 * np.pi * 1234.5 * time)
    noise = 0.02 * np.random.default_rng(seed).standard_normal((frames, channels))
    return (tones + noise).astype(np.float32)


def written(
    folder: Path,
    format: OutputFormat,
    samples: Samples,
    rate: int = 44_100,
    block: int = 20_000,
    tags: Tags | None = None,
) -> tuple[Path, Samples, Output]:
    """One stem through a sink: its file, what the sink said it stored, and its output."""
    sink = DirectorySink(folder, format)
    sink.open(rate, samples.shape[1], ["vocals"], len(samples), tags)
    stored = [sink.write("vocals", samples[start : start + block]) for start in range(0, len(samples), block)]
    sink.commit()
    assert sink.output is not None
    assert list(folder.iterdir()) == [sink.path("vocals")]
    return sink.path("vocals"), np.concatenate(stored), sink.output


def heard(path: Path) -> tuple[Samples, int]:
    """By the engine's decoder."""
    with decode(path, LIMITS) as decoding:
        return np.concatenate(list(decoding.blocks())), decoding.rate


def signal_to_noise(signal: Samples, other: Samples) -> float:
    return float(10 * np.log10(np.sum(signal**2) / np.sum((signal - other) ** 2)))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("format", LOSSLESS, ids=named)
def test_lossless_formats_keep_every_bit(format: OutputFormat, channels: int, tmp_path: Path) -> None:
    samples = song(50_001, channels=channels)
    path, stored, output = written(tmp_path, format, samples)
    decoded, rate = heard(path)
    assert rate == 44_100
    np.testing.assert_array_equal(decoded, stored)
    assert format.bit_depth in (16, 24)
    assert np.max(np.abs(stored - samples)) <= 0.5 / 2 ** (format.bit_depth - 1)
    assert soundfile.info(path).subtype == f"PCM_{format.bit_depth}"
    assert output == Output(format.container, format.bit_depth, None, 44_100)


def test_float_keeps_what_is_beyond_full_scale(tmp_path: Path) -> None:
    samples = 3 * song(5_000)
    path, stored, _ = written(tmp_path, WAV_FLOAT, samples)
    np.testing.assert_array_equal(heard(path)[0], samples)
    np.testing.assert_array_equal(stored, samples)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("format", LOSSY, ids=named)
def test_lossy_formats_sound_the_same_and_begin_at_the_same_sample(
    format: OutputFormat, channels: int, tmp_path: Path
) -> None:
    samples = song(60_000, channels=channels)
    path, stored, output = written(tmp_path, format, samples)
    np.testing.assert_array_equal(stored, samples)
    decoded, rate = heard(path)
    assert rate == output.rate == 44_100 and decoded.shape[1] == channels
    # A shift by one sample would leave 25 dB of the tones.
    assert signal_to_noise(samples, decoded[: len(samples)]) > 27
    assert output.bit_rate == format.bit_rate_for(44_100, channels)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("frames", [700, 1_152, 2_048, 44_101])
@pytest.mark.parametrize("format", ALL, ids=named)
def test_lengths(format: OutputFormat, frames: int, rate: int, tmp_path: Path) -> None:
    path, _, _ = written(tmp_path, format, song(frames, rate), rate, block=1_000)
    decoded, decoded_rate = decode_here(path)
    assert decoded_rate == rate
    if format.container == "ogg":
        # FFmpeg miscounts a Vorbis stream of one page, which is so short a one or a few seconds of silence.
        info = soundfile.info(path)
        assert (info.frames, info.samplerate) == (frames, rate)
        assert len(decoded) == frames or frames < 44_101
    elif format.container == "m4a":
        # FFmpeg's decoder begins where the edit list says and plays the last packet to its end.
        assert len(decoded) == -(-frames // 1024) * 1024
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            assert (stream.duration, stream.time_base) == (frames, Fraction(1, rate))
    else:
        assert len(decoded) == frames


@pytest.mark.parametrize(
    ("format", "rate", "new_rate"),
    [
        (make_format("mp3"), 96_000, 48_000),
        (make_format("mp3"), 4_000, 8_000),
        (make_format("m4a"), 192_000, 96_000),
        (make_format("ogg"), 384_000, 200_000),
        (make_format("flac", 24), 65_538, 65_540),
        (make_format("flac"), 768_000, 655_350),
    ],
    ids=str,
)
def test_rates_that_a_format_lacks(format: OutputFormat, rate: int, new_rate: int, tmp_path: Path) -> None:
    frames = rate // 2
    path, stored, output = written(tmp_path, format, song(frames, rate), rate)
    assert output.rate == new_rate
    np.testing.assert_array_equal(stored, song(frames, rate))
    decoded, decoded_rate = decode_here(path)
    assert decoded_rate == new_rate
    expected = round(frames * new_rate / rate)
    assert len(decoded) == (expected if format.container != "m4a" else -(-expected // 1024) * 1024)
    if format.container == "flac":
        # Away from the ends, the same tones at the other rate (their noise is above the tones' band).
        middle = slice(expected // 4, 3 * expected // 4)
        whole = np.round(decoded[middle] * 2.0**23)
        np.testing.assert_array_equal(whole % (1 if format.bit_depth == 24 else 256), 0)
        tones = song(expected, new_rate, seed=1)[middle]
        assert signal_to_noise(tones, decoded[middle].astype(np.float32) / _scale(decoded)) > 15


def _scale(decoded: Samples) -> float:
    """What PyAV's integers must be divided by."""
    return 1.0 if decoded.dtype.kind == "f" else 2.0 ** (8 * decoded.dtype.itemsize - 1)


@pytest.mark.parametrize("format", [*LOSSLESS, *LOSSY], ids=named)
def test_nothing_wraps_around(format: OutputFormat, tmp_path: Path) -> None:
    samples = 4 * song(30_000)
    path, stored, _ = written(tmp_path, format, samples)
    clipped = np.clip(samples, -1, 1)
    assert np.max(np.abs(stored - clipped)) <= 2.0**-15
    decoded = heard(path)[0][: len(samples)]
    if format.lossless:
        np.testing.assert_array_equal(decoded, stored)
    else:
        # A sample that wrapped around would be off by 2, and coding by itself is off by a little.
        loud = np.abs(samples) > 1.5
        assert np.all(np.sign(decoded[loud]) == np.sign(samples[loud]))


@pytest.mark.parametrize("format", [make_format("mp3"), make_format("flac")], ids=named)
def test_resampling_does_not_wrap_around(format: OutputFormat, tmp_path: Path) -> None:
    """A square wave at full scale overshoots when its rate changes."""
    square = np.where(np.arange(96_000 * 7) // 500 % 2, 1, -1).astype(np.float32)[:400_000, None]
    path, _, output = written(tmp_path, format, square, 768_000)
    decoded, _ = heard(path)
    period = 1_000 * output.rate / 768_000
    expected = np.where(np.arange(len(decoded)) / (period / 2) % 2 >= 1, 1, -1)
    inside = np.abs(np.arange(len(decoded)) / (period / 2) % 1 - 0.5) < 0.3
    assert np.all(np.sign(decoded[inside, 0]) == expected[inside])


@pytest.mark.parametrize("bit_depth", [16, 24])
def test_rounding_is_to_the_nearest_value_in_every_piece(bit_depth: Any) -> None:
    block = song(40_000)  # more than two pieces
    block[::1000] = [[2.0, -2.0]]
    whole, stored = round_to_depth(block, bit_depth)
    scale = 2.0 ** (bit_depth - 1)
    exact = np.clip(np.rint(block.astype(np.float64) * scale), -scale, scale - 1)
    np.testing.assert_array_equal(whole.astype(np.int64) >> (8 if bit_depth == 24 else 0), exact)
    np.testing.assert_array_equal(stored, exact / scale)


@pytest.mark.parametrize("rate", [44_100, 768_000])
@pytest.mark.parametrize("format", ALL, ids=named)
def test_blocks_may_be_columns_of_a_wider_array(format: OutputFormat, rate: int, tmp_path: Path) -> None:
    wide = np.concatenate([song(30_000, rate), song(30_000, rate, seed=1)], axis=1)
    path, stored, _ = written(tmp_path / "columns", format, wide[:, 2:], rate)
    same, stored_same, _ = written(tmp_path / "own", format, np.ascontiguousarray(wide[:, 2:]), rate)
    np.testing.assert_array_equal(stored, stored_same)
    np.testing.assert_array_equal(decode_here(path)[0], decode_here(same)[0])


def test_mixed_block_lengths_are_all_one_song(tmp_path: Path) -> None:
    """Also single samples and blocks longer than what libvorbis can take at once."""
    samples = song(400_000)
    for format in (make_format("ogg"), make_format("flac")):
        sink = DirectorySink(tmp_path / format.container, format)
        sink.open(44_100, 2, ["vocals"], len(samples))
        for start, end in ((0, 1), (1, 1), (1, 350_000), (350_000, 350_007), (350_007, 400_000)):
            sink.write("vocals", samples[start:end])
        sink.commit()
        decoded, _ = heard(sink.path("vocals"))
        assert len(decoded) == len(samples) and signal_to_noise(samples, decoded) > 27


@pytest.mark.parametrize("written_first", [False, True])
@pytest.mark.parametrize("format", ALL, ids=named)
def test_discarding_leaves_nothing(format: OutputFormat, written_first: bool, tmp_path: Path) -> None:
    before = threading.active_count()
    sink = DirectorySink(tmp_path, format)
    sink.discard()
    tags = Tags({"title": "Song"}, Cover("image/png", bytes(100)))
    sink.open(44_100, 2, ["vocals", "accompaniment"], 100_000, tags)
    if written_first:
        for _ in range(5):
            sink.write("vocals", song(20_000))
    sink.discard()
    sink.discard()
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


@pytest.mark.parametrize("format", ALL, ids=named)
def test_nobody_sees_a_stem_before_all_are_whole(format: OutputFormat, tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path, format)
    sink.open(44_100, 1, ["vocals", "drums"], 30_000)
    for stem in ("vocals", "drums"):
        sink.write(stem, song(30_000, channels=1))
    assert all(path.name.startswith(".") for path in tmp_path.iterdir())
    sink.commit()
    assert {path.name for path in tmp_path.iterdir()} == {f"vocals{format.suffix}", f"drums{format.suffix}"}
    assert {path.read_bytes()[:4] != b"" for path in tmp_path.iterdir()} == {True}


def test_all_stems_are_shown_or_none(tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path)
    sink.path("drums").mkdir()
    sink.open(44_100, 1, ["vocals", "drums"], 1000)
    with pytest.raises(IsADirectoryError):
        sink.commit()
    sink.discard()
    assert list(tmp_path.iterdir()) == [sink.path("drums")]


def test_long_songs_become_rf64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sndfile, "RIFF_LIMIT", 400_000)
    samples = song(110_000)
    long, stored, _ = written(tmp_path / "long", make_format("wav"), samples, tags=Tags({"title": "Long"}))
    short, _, _ = written(tmp_path / "short", make_format("wav"), samples[:90_000])
    assert long.read_bytes()[:4] == b"RF64" and short.read_bytes()[:4] == b"RIFF"
    np.testing.assert_array_equal(heard(long)[0], stored)


def test_a_song_longer_than_announced_does_not_overflow_a_wavs_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sndfile, "RIFF_END", 100_000)
    sink = DirectorySink(tmp_path)
    sink.open(44_100, 2, ["vocals"], 1_000)
    sink.write("vocals", song(25_000))
    with pytest.raises(OSError, match="Longer than was announced") as refused:
        sink.write("vocals", song(1))
    assert refused.value.errno == errno.EFBIG
    sink.discard()


def test_the_null_sink_has_no_output() -> None:
    sink = NullSink()
    sink.open(44_100, 2, ["vocals"], 10, Tags())
    block = song(10)
    assert sink.write("vocals", block) is block
    sink.commit()
    assert sink.output is None

"""One song through the whole pipeline, with the real decoder and the real embedded model."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from engine.audio import Samples
from engine.audio_io import DecodeLimits
from engine.catalog import Catalog
from engine.errors import (
    AudioTooLong,
    AudioUndecodable,
    DecoderCrashed,
    EngineError,
    SeparationCancelled,
)
from engine.formats import WAV_24, WAV_FLOAT, BitDepth, OutputFormat
from engine.models.base import Separator
from engine.separate import Progress, separate
from engine.sink import DirectorySink, NullSink
from engine.warmup import warm
from tests.engine import decoders
from tests.engine.audio_files import decode_here, encode
from tests.engine.passing import Passing

LIMITS = DecodeLimits(seconds=300)
SONGS = [
    ("stereo.wav", "pcm_s16le", 44100, "stereo"),
    ("mono.wav", "pcm_s16le", 44100, "mono"),
    ("mono.flac", "flac", 8000, "mono"),
    ("song.mp3", "libmp3lame", 48000, "stereo"),
    ("high.flac", "flac", 192000, "stereo"),
    ("song.opus", "libopus", 48000, "stereo"),
    ("song.m4a", "aac", 22050, "stereo"),
    ("surround.wav", "pcm_s24le", 48000, "5.1"),
]


@pytest.fixture
def passing(catalog: Catalog) -> Passing:
    return Passing(catalog["lite"], {"vocals": 0.25, "accompaniment": 0.0})


def nothing_left(folder: Path) -> bool:
    threads = [thread.name for thread in threading.enumerate()]
    return (
        not decoders.children()
        and not any(name.startswith(("lite-", "separate-")) for name in threads)
        and not (folder.exists() and list(folder.iterdir()))
    )


@pytest.mark.parametrize(("name", "codec", "rate", "layout"), SONGS)
def test_stems_have_the_songs_rate_and_length_and_sum_to_it(
    name: str, codec: str, rate: int, layout: str, tmp_path: Path, music: Samples, lite: Separator
) -> None:
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    whole = np.resize(music[:, :1], (rate * 2 + 17, channels)) * np.float32(0.3)
    song = encode(tmp_path / name, whole, rate, codec, layout)
    here, here_rate = decode_here(song)
    sink = DirectorySink(tmp_path / "stems", WAV_24)
    receipt = separate(song, lite, sink, limits=LIMITS)
    assert receipt.frames_in == receipt.frames_out == len(here)
    stems = []
    for stem in ("vocals", "accompaniment"):
        samples, stem_rate = soundfile.read(sink.path(stem), dtype="float32", always_2d=True)
        assert stem_rate == receipt.rate == here_rate
        assert samples.shape == (len(here), min(channels, 2))
        stems.append(samples)
    mix = here / 2.0 ** (8 * here.dtype.itemsize - 1) if here.dtype.kind == "i" else here
    if layout == "5.1":
        left = mix[:, 0] + 0.7071 * (mix[:, 2] + mix[:, 4])
        right = mix[:, 1] + 0.7071 * (mix[:, 2] + mix[:, 5])
        mix = np.stack([left, right], 1)
    residual = np.sqrt(np.mean((mix - sum(stems)) ** 2))
    assert 20 * np.log10(residual + 1e-12) < -90
    assert receipt.residual_dbfs is None or receipt.residual_dbfs < -90
    codes = {warning.code for warning in receipt.warnings}
    assert ("mono" in codes) == (channels == 1)
    assert ("downmixed" in codes) == (channels > 2)


def test_a_real_song(lite: Separator, warmup: Path, tmp_path: Path) -> None:
    said: list[Progress] = []
    sink = DirectorySink(tmp_path / "stems")
    receipt = separate(warmup, lite, sink, limits=LIMITS, on_progress=said.append)
    song, rate = decode_here(warmup)
    vocals, _ = soundfile.read(sink.path("vocals"), dtype="float32")
    accompaniment, _ = soundfile.read(sink.path("accompaniment"), dtype="float32")
    assert len(vocals) == len(accompaniment) == len(song)
    assert sorted(path.name for path in sink.folder.iterdir()) == ["accompaniment.wav", "vocals.wav"]
    energy = float(np.sum(song**2))
    assert np.sum(vocals**2) > 0.01 * energy
    assert np.sum((song - accompaniment) ** 2) > 0.01 * energy
    # The song was mastered so loud that its accompaniment alone goes beyond full scale here and there.
    clipped = (accompaniment == -1) | (accompaniment == 1 - 2.0**-15)
    assert 0 < np.count_nonzero(clipped) < 200
    assert np.max(np.abs(song - vocals - accompaniment)[~clipped]) <= 2.0**-16 + 1e-6

    document = json.loads(json.dumps(receipt.to_json()))
    assert document["model"] == "lite"
    assert document["weights_sha256"] == lite.spec.graph_sha256
    assert document["runtime"]["name"] == lite.runtime.name
    assert document["rate"] == rate
    assert document["decoded_seconds"] == pytest.approx(len(song) / rate)
    assert document["stems"]["vocals"]["peak"] == pytest.approx(np.abs(vocals).max(), abs=1e-4)
    assert document["stems"]["vocals"]["rms_dbfs"] == pytest.approx(
        20 * np.log10(np.sqrt(np.mean(vocals**2))), abs=0.01
    )
    assert [warning["code"] for warning in document["warnings"]] == ["clipped"]
    assert document["stems"]["accompaniment"]["clipped_samples"] == pytest.approx(np.count_nonzero(clipped), abs=3)
    assert set(document["seconds"]) == {"probe", "decode", "spectra", "network", "inverse", "write", "total"}

    fractions = [progress.fraction for progress in said]
    assert fractions == sorted(fractions)
    assert (said[0].stage, said[-1].stage, fractions[-1]) == ("listening", "finishing", 1.0)


def test_average_leaves_the_last_stem_alone(passing: Passing, warmup: Path, tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path / "stems", WAV_FLOAT)
    receipt = separate(warmup, passing, sink, limits=LIMITS, high_frequencies="average")
    assert receipt.stems["accompaniment"].rms_dbfs is None
    assert receipt.residual_dbfs is not None
    assert receipt.residual_dbfs > -40


@pytest.mark.parametrize("depth", [16, 24])
def test_too_loud_is_clipped_and_counted(depth: BitDepth, catalog: Catalog, tmp_path: Path, music: Samples) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, music, 44100, subtype="FLOAT")
    loud = Passing(catalog["lite"], {"vocals": 4.0, "accompaniment": 0.0})
    sink = DirectorySink(tmp_path / "stems", OutputFormat("wav", depth))
    receipt = separate(song, loud, sink, limits=LIMITS, high_frequencies="average")
    vocals, _ = soundfile.read(sink.path("vocals"), dtype="float32")
    expected = music * 4
    assert np.all(np.sign(vocals) * np.sign(expected) >= 0), "a sample wrapped around"
    beyond = int(np.count_nonzero(np.abs(expected) > 1 + 2.0**-15))
    assert beyond > 1000
    assert receipt.stems["vocals"].clipped_samples == pytest.approx(beyond, abs=5)
    assert "clipped" in {warning.code for warning in receipt.warnings}


def test_float_stems_are_not_clipped(catalog: Catalog, tmp_path: Path, music: Samples) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, music, 44100, subtype="FLOAT")
    loud = Passing(catalog["lite"], {"vocals": 4.0, "accompaniment": 0.0})
    sink = DirectorySink(tmp_path / "stems", WAV_FLOAT)
    receipt = separate(song, loud, sink, limits=LIMITS)
    vocals, _ = soundfile.read(sink.path("vocals"), dtype="float32")
    np.testing.assert_array_equal(vocals, music * 4)
    assert receipt.stems["vocals"].clipped_samples == 0


@pytest.mark.parametrize(
    "option",
    [
        {"start_seconds": -1.0},
        {"start_seconds": float("nan")},
        {"duration_seconds": -1.0},
        {"duration_seconds": float("inf")},
        {"start_patch": -1},
        {"patches": -1},
        {"gain_db": float("nan")},
        {"gain_db": 1000.0},
    ],
    ids=str,
)
def test_what_can_not_be_asked_for(option: dict[str, Any], passing: Passing, warmup: Path) -> None:
    with pytest.raises(ValueError, match=r"part|Patches"):
        separate(warmup, passing, NullSink(), limits=LIMITS, **option)


def test_warnings_say_what_was_odd(passing: Passing, example: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp3"
    cut.write_bytes(example.read_bytes()[:100_000])
    codes = [warning.code for warning in separate(cut, passing, NullSink(), limits=LIMITS).warnings]
    assert "truncated" in codes
    whole = tmp_path / "whole.wav"
    soundfile.write(whole, np.full((5 * 44100, 2), 0.1), 44100)
    assert separate(whole, passing, NullSink(), limits=LIMITS).warnings == []
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    (warning,) = separate(whole, passing, NullSink(), limits=LIMITS).warnings
    assert (warning.code, warning.detail) == ("truncated", "The file says 5.00 s and holds 3.00 s.")
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros((44100, 2)), 44100)
    assert [w.code for w in separate(silent, passing, NullSink(), limits=LIMITS).warnings] == ["silence"]
    spoilt = np.full((1000, 2), 0.1, np.float32)
    spoilt[10] = np.nan
    soundfile.write(tmp_path / "nan.wav", spoilt, 44100, subtype="FLOAT")
    receipt = separate(tmp_path / "nan.wav", passing, NullSink(), limits=LIMITS)
    assert [w.code for w in receipt.warnings] == ["nonfinite"]


def test_cancelling_midway_leaves_nothing(lite: Separator, example: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stems"
    reached: list[float] = []

    def on_progress(progress: Progress) -> None:
        if progress.stage == "separating":
            assert list(folder.iterdir()), "the stems' parts should be there by now"
            reached.append(progress.fraction)

    with pytest.raises(SeparationCancelled):
        separate(
            example,
            lite,
            DirectorySink(folder),
            limits=LIMITS,
            on_progress=on_progress,
            cancelled=lambda: bool(reached),
        )
    assert reached
    assert reached[-1] < 0.5
    assert nothing_left(folder)


def test_cancelling_while_listening(lite: Separator, example: Path, tmp_path: Path) -> None:
    said: list[Progress] = []
    with pytest.raises(SeparationCancelled):
        separate(
            example,
            lite,
            DirectorySink(tmp_path / "stems"),
            limits=LIMITS,
            on_progress=said.append,
            cancelled=lambda: len(said) > 5,
        )
    assert {progress.stage for progress in said} == {"listening"}
    assert nothing_left(tmp_path / "stems")


@pytest.mark.parametrize("error", [DecoderCrashed("died"), AudioUndecodable("not audio")])
def test_errors_of_threads_surface(error: EngineError, passing: Passing, warmup: Path, tmp_path: Path) -> None:
    passing.failure = error
    with pytest.raises(type(error)):
        separate(warmup, passing, DirectorySink(tmp_path / "stems"), limits=LIMITS)
    assert nothing_left(tmp_path / "stems")


def test_a_sink_that_fails_stops_everything(lite: Separator, example: Path, tmp_path: Path) -> None:
    class Full(DirectorySink):
        def write(self, stem: str, block: Samples) -> Samples:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        separate(example, lite, Full(tmp_path / "stems"), limits=LIMITS)
    assert nothing_left(tmp_path / "stems")


def test_too_long_a_song_writes_nothing(lite: Separator, example: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioTooLong):
        separate(example, lite, DirectorySink(tmp_path / "stems"), limits=DecodeLimits(seconds=30))
    assert nothing_left(tmp_path / "stems")


def test_two_songs_at_once_are_the_same_as_one(lite: Separator, warmup: Path, tmp_path: Path) -> None:
    sinks = [DirectorySink(tmp_path / str(index)) for index in range(3)]
    separate(warmup, lite, sinks[0], limits=LIMITS)
    threads = [
        threading.Thread(target=separate, args=(warmup, lite, sink), kwargs={"limits": LIMITS}) for sink in sinks[1:]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for stem in lite.spec.stems:
        assert len({sink.path(stem).read_bytes() for sink in sinks}) == 1


def test_large_results_become_rf64(tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path, WAV_FLOAT)
    stems: Sequence[str] = ["vocals"]
    sink.open(192_000, 2, stems, 600_000_000)
    sink.write("vocals", np.zeros((10, 2), np.float32))
    sink.commit()
    assert sink.path("vocals").read_bytes()[:4] == b"RF64"
    assert soundfile.info(sink.path("vocals")).frames == 10


def test_warming_up_separates_the_sample(lite: Separator, warmup: Path) -> None:
    assert warm(lite, warmup, LIMITS) > 0

"""A song in parts, kept and joined: the files and the receipt of one pass, byte for byte."""

from __future__ import annotations

import tempfile
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from engine.audio import Samples
from engine.audio_io import probe
from engine.catalog import Catalog
from engine.errors import AudioEmpty, PatchCorrupt, SeparationCancelled
from engine.formats import WAV_16, WAV_24, WAV_FLOAT, OutputFormat, make_format
from engine.models.base import HighFrequencies, Separator
from engine.parts import separate_patches
from engine.runtimes.fake import Behaviour, FakeRuntime
from engine.separate import separate
from engine.sink import DirectorySink, NullSink
from engine.stages import Stages
from tests.engine.part_cases import LIMITS, check_parts, small_spleeter, stored_frames
from tests.engine.passing import Passing
from tests.engine.spleeter_cases import song
from tests.engine.test_separate import nothing_left

SECONDS = 21.3
"""Two patches of Spleeter (11.9 s), two of lite (20.1 s), the last ones not full."""


@dataclass(frozen=True)
class Case:
    name: str
    model: str
    high: HighFrequencies
    format: OutputFormat
    more: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}-{self.model}-{self.high}-{self.format.container}-{self.format.bit_depth}"


CASES = [
    Case("loud.wav", "2stems", "mixture", WAV_16),
    Case("loud.wav", "4stems", "average", make_format("flac", 24), {"gain_db": 6.0}),
    Case("loud.wav", "fake", "mixture", make_format("ogg"), {"step": 2}),
    Case("loud.wav", "lite", "mixture", WAV_24, {"start_seconds": 1.234, "duration_seconds": 24.0, "gain_db": -3.0}),
    Case("studio.flac", "4stems", "zeros", make_format("m4a")),
    Case("studio.flac", "2stems", "mixture", make_format("mp3"), {"start_seconds": 2.0, "gain_db": 3.0}),
    Case("studio.flac", "lite", "average", make_format("flac")),
    Case("phone.wav", "4stems", "mixture", WAV_FLOAT, {"duration_seconds": 21.0}),
    Case("phone.wav", "lite", "zeros", make_format("ogg")),
    Case("phone.wav", "fake", "average", make_format("mp3")),
    Case("high.flac", "2stems", "mixture", make_format("mp3")),
]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Songs that pytest shouldn't keep."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def songs(place: Path) -> Path:
    def write(name: str, rate: int, subtype: str, seconds: float = SECONDS, gain: float = 1.0) -> None:
        samples = song(int(seconds * rate), seed=rate, gain=gain)
        soundfile.write(place / name, samples[:, 0] if rate == 8_000 else samples, rate, subtype)

    write("loud.wav", 44_100, "PCM_16", seconds=26.3, gain=3.0)
    write("studio.flac", 48_000, "PCM_24")
    write("phone.wav", 8_000, "PCM_16")
    write("high.flac", 96_000, "PCM_24", seconds=14.0)
    return place


@pytest.fixture(scope="module")
def models(place: Path, lite: Separator) -> Iterator[dict[str, Separator]]:
    small = {
        "2stems": small_spleeter(place),
        "4stems": small_spleeter(place, "spleeter:4stems"),
        "fake": small_spleeter(place, runtime=FakeRuntime(Behaviour(outputs=1))),
    }
    yield {"lite": lite, **small}
    for separator in small.values():
        separator.close()


@pytest.fixture
def passing(catalog: Catalog) -> Passing:
    """Patches of 100,000 samples."""
    return Passing(catalog["lite"], {"vocals": 0.25, "accompaniment": 0.0})


@pytest.fixture
def make_song(tmp_path: Path) -> Callable[..., Path]:
    def make(frames: int, rate: int = 44_100) -> Path:
        path = tmp_path / f"song-{frames}-{rate}.wav"
        soundfile.write(path, song(frames), rate, "PCM_16")
        return path

    return make


@pytest.mark.parametrize("case", CASES, ids=str)
def test_parts_are_one_pass(case: Case, songs: Path, models: dict[str, Separator], tmp_path: Path) -> None:
    separator = models[case.model]
    receipt, store = check_parts(
        songs / case.name, separator, tmp_path, case.format, high_frequencies=case.high, **case.more
    )
    assert len(store.numbers) > 1
    assert receipt.frames_out == sum(stored_frames(store))
    assert set(receipt.seconds) == {"decode", "kept", "write", "total"}
    assert receipt.real_time_factor > 0
    if case.name == "loud.wav" and case.model.endswith("stems"):
        assert "clipped" in {warning.code for warning in receipt.warnings}


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_song_that_ends_beside_a_boundary(
    extra: int, rate: int, passing: Passing, make_song: Callable[..., Path], tmp_path: Path
) -> None:
    boundary = -(-200_000 * rate // 44_100)
    _, store = check_parts(make_song(boundary + extra, rate), passing, tmp_path)
    assert sorted(store.numbers) == ([0, 1, 2] if extra > 0 else [0, 1])


@pytest.mark.parametrize("seconds", [-3.0, 3.0])
def test_a_song_that_is_not_as_long_as_was_counted(
    seconds: float, passing: Passing, make_song: Callable[..., Path], tmp_path: Path
) -> None:
    """Then the plan has a patch less or more than the song."""
    receipt, store = check_parts(make_song(210_000), passing, tmp_path, seconds=seconds)
    assert stored_frames(store) == [100_000, 100_000, 10_000]
    assert receipt.frames_out == 210_000


def test_odd_songs(passing: Passing, models: dict[str, Separator], example: Path, tmp_path: Path) -> None:
    silent, cut = tmp_path / "silent.wav", tmp_path / "cut.mp3"
    soundfile.write(silent, np.zeros((150_000, 2)), 44_100)
    cut.write_bytes(example.read_bytes()[:150_000])
    codes = {}
    for path in (silent, cut):
        receipt, _ = check_parts(path, passing, tmp_path / path.stem, WAV_16)
        codes[path.stem] = {warning.code for warning in receipt.warnings}
    assert codes["silent"] == {"silence"}
    assert "truncated" in codes["cut"]
    for model in ("2stems", "lite"):  # shorter than a patch
        _, store = check_parts(cut, models[model], tmp_path / model, WAV_16)
        assert store.numbers == [0]


def test_nothing_to_separate(passing: Passing, make_song: Callable[..., Path]) -> None:
    source = make_song(110_000)
    info = probe(source, LIMITS)
    for more in ({"start_seconds": 60.0}, {"first_patch": 2}, {"patches": 0}, {"duration_seconds": 0.0}):
        options: dict[str, Any] = more
        assert separate_patches(source, passing, lambda *_: True, limits=LIMITS, info=info, **options) == 0
    with pytest.raises(AudioEmpty):
        separate(source, passing, NullSink(), limits=LIMITS, info=info, start_seconds=60.0, kept=lambda _: fail())
    for wrong in ({"first_patch": -1}, {"patches": -1}, {"start_seconds": -1.0}):
        options = wrong
        with pytest.raises(ValueError, match=r"part|Patches"):
            separate_patches(source, passing, lambda *_: True, limits=LIMITS, info=info, **options)


def test_keep_says_when_it_is_enough(passing: Passing, make_song: Callable[..., Path]) -> None:
    source, stages = make_song(500_000), Stages()
    kept: list[int] = []

    def keep(number: int, samples: Samples) -> bool:
        assert samples.shape == (100_000, 2) and samples.dtype == np.float32
        kept.append(number)
        return number < 2

    info = probe(source, LIMITS)
    handed = separate_patches(source, passing, keep, limits=LIMITS, info=info, first_patch=1, stages=stages)
    assert (handed, kept) == (2, [1, 2])
    assert "decode" in stages.seconds


def test_errors_and_cancellation_end_everything(
    models: dict[str, Separator], songs: Path, passing: Passing, tmp_path: Path
) -> None:
    source = songs / "loud.wav"
    info = probe(source, LIMITS)
    kept: list[Samples] = []

    def full(number: int, samples: Samples) -> bool:
        raise OSError(28, "No space left on device")

    def keep(number: int, samples: Samples) -> bool:
        kept.append(samples)
        return True

    with pytest.raises(OSError, match="No space left"):
        separate_patches(source, models["2stems"], full, limits=LIMITS, info=info)
    assert nothing_left(tmp_path)
    with pytest.raises(SeparationCancelled):
        separate_patches(source, models["lite"], keep, limits=LIMITS, info=info, cancelled=lambda: bool(kept))
    assert len(kept) == 1
    assert nothing_left(tmp_path)
    passing.failure = PatchCorrupt("as good as any")
    with pytest.raises(PatchCorrupt):
        separate_patches(source, passing, keep, limits=LIMITS, info=info)
    assert nothing_left(tmp_path)


def fail() -> Samples:
    raise SeparationCancelled("Given up while a patch was waited for.")


def test_a_patch_that_does_not_come_or_does_not_fit(passing: Passing, songs: Path, tmp_path: Path) -> None:
    source, good = songs / "loud.wav", np.zeros((100_000, 2), np.float32)
    first: dict[int, Samples] = {0: good}
    wrong = [good[:-1], np.zeros((100_001, 2), np.float32), good[:, :1], good[:, 0]]
    for patch in (None, *wrong):
        sink = DirectorySink(tmp_path / "stems")

        def kept(number: int, patch: Samples | None = patch) -> Samples:
            return first[number] if number in first else fail() if patch is None else patch

        with pytest.raises(SeparationCancelled if patch is None else PatchCorrupt):
            separate(source, passing, sink, limits=LIMITS, kept=kept)
        assert nothing_left(tmp_path / "stems")


def test_a_range_of_kept_patches(passing: Passing, make_song: Callable[..., Path], tmp_path: Path) -> None:
    source = make_song(450_000)
    asked: list[int] = []

    def kept(number: int) -> Samples:
        asked.append(number)
        return np.full((100_000, 2), 0.01 * number, np.float32)

    sink = DirectorySink(tmp_path / "stems", WAV_FLOAT)
    receipt = separate(source, passing, sink, limits=LIMITS, start_patch=1, patches=2, kept=kept)
    assert (receipt.first_frame, receipt.frames_out, asked) == (100_000, 200_000, [1, 2])
    vocals, _ = soundfile.read(sink.path("vocals"), dtype="float32")
    expected = np.repeat(np.array([0.01, 0.02], np.float32), 100_000)
    np.testing.assert_array_equal(vocals[:, 0], expected)


def test_memory_does_not_grow_with_the_song(passing: Passing, make_song: Callable[..., Path]) -> None:
    source = make_song(5_000_000)  # 40 MB as float32, in 50 patches
    info = probe(source, LIMITS)
    alive: list[weakref.ref[Samples]] = []
    most = 0

    def watched(samples: Samples) -> Samples:
        nonlocal most
        alive.append(weakref.ref(samples if samples.base is None else samples.base))
        most = max(most, sum(one() is not None for one in alive))
        return samples

    tracemalloc.start()
    try:
        handed = separate_patches(
            source, passing, lambda _, samples: bool(watched(samples).size), limits=LIMITS, info=info
        )
        assert (handed, most) == (50, 1)
        alive.clear()
        most = 0
        separate(source, passing, NullSink(), limits=LIMITS, kept=lambda _: watched(np.zeros((100_000, 2), np.float32)))
        assert (len(alive), most) == (50, 2)  # one may still be written while the next has come
        assert tracemalloc.get_traced_memory()[1] < 12e6
    finally:
        tracemalloc.stop()

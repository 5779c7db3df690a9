"""Encoders on a full disk, and in threads of their own."""

from __future__ import annotations

import errno
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.audio import Samples
from engine.encoders import background
from engine.encoders.background import Background
from engine.formats import CONTAINERS, WAV_24, WAV_FLOAT, Container, OutputFormat, make_format
from engine.sink import DirectorySink
from engine.tags import Cover, Tags

TAGS = Tags({"title": "Song", "comment": "Long " * 100}, Cover("image/jpeg", bytes(5_000)))
FORMATS = [*(make_format(container) for container in CONTAINERS), WAV_24, WAV_FLOAT]


def noise(frames: int) -> Samples:
    return np.random.default_rng(0).uniform(-0.9, 0.9, (frames, 2)).astype(np.float32)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writes beyond `size` bytes fail in this process as they do on a full disk (with EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 100, 16_000, 60_000])
@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_a_full_disk_is_said_with_the_systems_own_reason(format: OutputFormat, room: int, tmp_path: Path) -> None:
    samples = noise(120_000)
    sink = DirectorySink(tmp_path, format)
    with largest_file(room), pytest.raises(OSError, match="File too large") as failed:
        sink.open(44_100, 2, ["vocals"], len(samples), TAGS)
        for start in range(0, len(samples), 10_000):
            sink.write("vocals", samples[start : start + 10_000])
        sink.commit()
    assert failed.value.errno == errno.EFBIG
    sink.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_a_disk_too_full_for_the_last_byte_is_never_a_success(format: OutputFormat, tmp_path: Path) -> None:
    """Encoders write their ends and their headers when they close, when nobody looks at results any more."""
    samples = noise(30_000)
    whole = DirectorySink(tmp_path / "whole", format)
    whole.open(44_100, 2, ["vocals"], len(samples), TAGS)
    whole.write("vocals", samples)
    whole.commit()
    size = whole.path("vocals").stat().st_size
    for missing in (1, 30):
        sink = DirectorySink(tmp_path / str(missing), format)
        with largest_file(size - missing), pytest.raises(OSError, match="File too large") as failed:
            sink.open(44_100, 2, ["vocals"], len(samples), TAGS)
            sink.write("vocals", samples)
            sink.commit()
        assert failed.value.errno == errno.EFBIG
        sink.discard()
        assert list((tmp_path / str(missing)).iterdir()) == []


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_disk_too_full_for_the_tags(container: Container, tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path, make_format(container))
    with largest_file(500_000), pytest.raises(OSError, match="File too large") as failed:
        sink.open(44_100, 2, ["vocals"], 10_000, Tags({"title": "Song"}, Cover("image/jpeg", bytes(600_000))))
        sink.write("vocals", noise(10_000))
        sink.commit()
    assert failed.value.errno == errno.EFBIG
    sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_stem_that_cannot_be_opened_leaves_nothing(tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path, make_format("flac"))
    with pytest.raises(soundfile.LibsndfileError):
        sink.open(44_100, 9, ["vocals"], 1_000)  # FLAC ends at eight channels
    sink.discard()
    assert list(tmp_path.iterdir()) == []


class Encoding:
    """An encoder that waits, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure, self.blocks = failure, 0
        self.may_go = threading.Event()
        self.ended: list[str] = []

    def write(self, block: object) -> None:
        self.may_go.wait()
        self.blocks += 1
        if self.failure is not None:
            raise self.failure

    def finish(self) -> None:
        self.ended.append("finished")

    def abort(self) -> None:
        self.ended.append("aborted")


BLOCK = np.zeros((10, 2), np.float32)


def test_few_blocks_wait_for_an_encoder() -> None:
    encoder = Encoding()
    threaded = Background(encoder, "x")
    passed: list[int] = []

    def write() -> None:
        for number in range(9):
            threaded.write(BLOCK)
            passed.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    writer.join(0.2)
    assert writer.is_alive() and len(passed) <= background.WAITING
    encoder.may_go.set()
    writer.join()
    threaded.finish()
    assert encoder.blocks == 9 and encoder.ended == ["finished"]


@pytest.mark.parametrize("end", [lambda encoder: encoder.write(BLOCK), lambda encoder: encoder.finish()])
def test_an_encoders_error_surfaces_and_blocks_nobody(end: Callable[[Background], None]) -> None:
    encoder = Encoding(OSError(errno.ENOSPC, "No space left on device"))
    threaded = Background(encoder, "x")
    encoder.may_go.set()
    threaded.write(BLOCK)
    with pytest.raises(OSError, match="No space left"):
        for _ in range(background.WAITING):
            end(threaded)
        threaded.finish()
    threaded.abort()
    assert encoder.blocks == 1 and encoder.ended == ["aborted"]


def test_aborting_does_not_encode_what_waits() -> None:
    encoder = Encoding()
    threaded = Background(encoder, "x")
    for _ in range(background.WAITING):
        threaded.write(BLOCK)
    threading.Timer(0.1, encoder.may_go.set).start()
    threaded.abort()
    assert encoder.blocks <= 1 and encoder.ended == ["aborted"]

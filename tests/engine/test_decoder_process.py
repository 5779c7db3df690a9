"""The decoder's process: one kept ready, none left behind, and what it may not do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from engine.audio import Samples
from engine.audio_io import DecodeLimits, Opened, cool_decoder, decode, probe, warm_decoder
from engine.decoder.process import ROOT
from engine.errors import AudioTooLong, AudioUndecodable
from tests.engine import decoders
from tests.engine.audio_files import encode

LIMITS = DecodeLimits(seconds=600)


@pytest.fixture(autouse=True)
def cold() -> Iterator[None]:
    cool_decoder()
    yield
    cool_decoder()
    assert not children()


@pytest.fixture
def song(tmp_path: Path, music: Samples) -> Path:
    soundfile.write(tmp_path / "song.wav", music, 44100, subtype="FLOAT")
    return tmp_path / "song.wav"


def children() -> list[int]:
    return [child.pid for child in decoders.children()]


def read(path: Path, start: int = 0) -> Samples:
    with decode(path, LIMITS) as decoding:
        return np.concatenate([np.zeros((0, decoding.channels), np.float32), *decoding.blocks(start)])


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_none_is_kept_unasked(song: Path) -> None:
    read(song)
    assert not children()


def test_each_serves_one_song(song: Path, music: Samples, tmp_path: Path) -> None:
    warm_decoder()
    warm_decoder()
    seen = []
    for _ in range(2):
        (spare,) = children()
        with decode(song, LIMITS) as decoding:
            # The spare one, and no other beside it.
            assert children() == [spare]
            np.testing.assert_array_equal(np.concatenate(list(decoding.blocks())), music)
        seen.append(spare)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioUndecodable):
        probe(tmp_path / "bad.wav", LIMITS)
    seen += children()
    assert len(set(seen)) == 3


def test_a_spare_that_died_is_no_song_lost(song: Path) -> None:
    warm_decoder()
    (spare,) = children()
    os.kill(spare, signal.SIGKILL)
    assert gone(spare)
    assert probe(song, LIMITS).rate == 44100
    assert spare not in children()


def test_one_that_probed_decodes_too(song: Path, music: Samples) -> None:
    warm_decoder()
    (spare,) = children()
    with Opened(song, LIMITS) as opened:
        assert opened.info == probe(song, LIMITS)
        assert spare in children()
        with opened.decode() as decoding:
            samples = np.concatenate(list(decoding.blocks(1000)))
            assert decoding.report is not None
            assert decoding.report.frames == len(music)
        assert spare not in children()
    np.testing.assert_array_equal(samples, music[1000:])


def test_one_that_probed_ends_unused_or_with_an_error(song: Path, tmp_path: Path) -> None:
    with Opened(song, LIMITS):
        assert len(children()) == 1
    assert not children()
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioUndecodable):
        Opened(tmp_path / "bad.wav", LIMITS)
    with pytest.raises(AudioTooLong):
        Opened(song, DecodeLimits(seconds=0.5))
    assert not children()


def test_many_threads(song: Path, music: Samples) -> None:
    warm_decoder()
    with ThreadPoolExecutor(4) as pool:
        for samples in pool.map(read, [song] * 8):
            np.testing.assert_array_equal(samples, music)
    assert len(children()) == 1


PARENT = """
import os, sys, psutil
from pathlib import Path
from engine.audio_io import DecodeLimits, Opened, decode, probe, warm_decoder
warm_decoder()
song, how = Path(sys.argv[1]), sys.argv[2]
if how == "fork":
    (spare,) = psutil.Process().children()
    if os.fork():
        assert os.wait()[1] == 0
        print(probe(song, DecodeLimits()).rate, spare.is_running(), len(psutil.Process().children()))
    else:
        # The parent's spare is not this one's to use, and this one wants none.
        rate = probe(song, DecodeLimits()).rate
        assert rate == 44100 and not psutil.Process().children()
        sys.exit(0)
elif how == "exit":
    print(psutil.Process().children()[0].pid)
elif how == "killed":
    print(psutil.Process().children()[0].pid, flush=True)
    os.kill(os.getpid(), 9)
else:
    limits = DecodeLimits()
    decoding = Opened(song, limits).decode() if how == "killed after it probed" else decode(song, limits)
    blocks = decoding.__enter__().blocks()
    next(blocks)
    print(psutil.Process().children()[0].pid, flush=True)
    os.kill(os.getpid(), 9)
"""


def parent(song: Path, how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", PARENT, str(song), how]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("how", ["exit", "killed", "killed while it reads", "killed after it probed"])
def test_none_outlives_its_parent(how: str, song: Path, example: Path) -> None:
    done = parent(example, how)
    assert gone(int(done.stdout))
    assert done.returncode == (0 if how == "exit" else -signal.SIGKILL)
    assert done.stderr == ""


def test_forked_processes_have_none(song: Path) -> None:
    done = parent(song, "fork")
    assert done.stderr == ""
    # The fork left the spare one alone: it served its own parent, which has the next.
    assert done.stdout.split() == ["44100", "False", "1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_only_its_owner_ends_it(number: int, song: Path, music: Samples) -> None:
    """Not who tells every process of a service, or of a terminal, to stop: before it has loaded, or at work."""
    warm_decoder()
    (spare,) = children()
    os.kill(spare, number)
    with decode(song, LIMITS) as decoding:
        assert children() == [spare]
        os.kill(spare, number)
        np.testing.assert_array_equal(np.concatenate(list(decoding.blocks())), music)


@pytest.mark.parametrize("start", [0, 1, 30_000, 88_199, 88_200, 100_000])
def test_from_a_sample_on(start: int, song: Path, music: Samples) -> None:
    with decode(song, LIMITS) as decoding:
        blocks = [np.zeros((0, 2), np.float32), *decoding.blocks(start)]
        assert decoding.report is not None
        assert decoding.report.frames == len(music)
    np.testing.assert_array_equal(np.concatenate(blocks), music[start:])


def test_from_a_sample_on_with_surround(tmp_path: Path) -> None:
    """A down-mixed sample has the same bits wherever the reading began."""
    noise = np.random.default_rng(0).standard_normal((100_000, 6), np.float32) * np.float32(0.1)
    path = encode(tmp_path / "song.wav", noise, 48000, "pcm_f32le", "5.1")
    np.testing.assert_array_equal(read(path, 33_333), read(path)[33_333:])


def test_the_cap_counts_from_the_song_start(song: Path) -> None:
    with decode(song, DecodeLimits(seconds=0.5)) as decoding, pytest.raises(AudioTooLong):
        list(decoding.blocks(80_000))


CONFINED = """
import os, socket, sys, threading
sys.path.insert(0, sys.argv[1])
from engine.decoder.sandbox import confine, forbid_calls
confine()
def attempt(name, call):
    try:
        call()
        print(name, "works")
    except (OSError, RuntimeError) as error:
        print(name, type(error).__name__)
attempt("inet", lambda: socket.socket(socket.AF_INET))
attempt("unix", lambda: socket.socket(socket.AF_UNIX))
attempt("pair", socket.socketpair)
attempt("exec", lambda: os.execv("/bin/true", ["true"]))
attempt("fork", os.fork)
attempt("kill", lambda: os.kill(os.getppid(), 0))
attempt("read", lambda: open("/dev/null").close())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_no_network_and_no_other_program() -> None:
    command = [sys.executable, "-I", "-c", CONFINED, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    refused = ["inet", "unix", "pair", "exec", "fork", "kill"]
    assert done.stdout.splitlines() == [*(f"{name} PermissionError" for name in refused), "read works"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_the_child_is_confined(example: Path) -> None:
    with decode(example, LIMITS) as decoding:
        next(iter(decoding.blocks()))
        (child,) = children()
        status = Path(f"/proc/{child}/status").read_text()
        assert "Seccomp:\t2" in status
        assert "NoNewPrivs:\t1" in status
        assert os.getpgid(child) == child
        assert len(os.listdir(f"/proc/{child}/task")) == 1
        assert not any("socket:" in os.readlink(link) for link in Path(f"/proc/{child}/fd").iterdir())

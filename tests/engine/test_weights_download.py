"""Pulling weights from a server that is slow, cuts, lies and serves the wrong thing."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.catalog import Archive, ModelSpec
from engine.checkpoint import read_checkpoint
from engine.errors import WeightsCorrupt, WeightsUnavailable
from engine.weights import WeightsStore
from tests.engine.checkpoints import write_checkpoint
from tests.engine.release import Release, answer, cut, pause, serve, status

NOISE = np.random.default_rng(0).normal(size=200_000).astype("<f4")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive of about 750 kB that doesn't compress, flat as the published ones are."""
    folder = tmp_path_factory.mktemp("packed")
    write_checkpoint(folder / "tiny", {"conv2d/kernel": NOISE})
    with tarfile.open(folder / "tiny.tar.gz", "w:gz") as tar:
        tar.add(folder / "tiny", arcname=".")
    return (folder / "tiny.tar.gz").read_bytes()


@pytest.fixture
def release(packed: bytes) -> Iterator[Release]:
    with serve(Release(packed)) as running:
        yield running


@pytest.fixture
def spec(release: Release) -> ModelSpec:
    return model(release)


def model(release: Release) -> ModelSpec:
    archive = Archive(
        name="tiny",
        url=release.url,
        sha256=hashlib.sha256(release.content).hexdigest(),
        size=len(release.content),
        directory="tiny",
    )
    return ModelSpec("tiny", "spleeter", "Tiny", ("vocals", "accompaniment"), 44100, 1024, "MIT", "", archive)


def unknown_size(spec: ModelSpec) -> ModelSpec:
    assert spec.archive is not None
    return replace(spec, archive=replace(spec.archive, size=None))


def store(folder: Path, timeout: float = 5.0, attempts: int = 3) -> WeightsStore:
    return WeightsStore(folder / "cache", timeout=timeout, attempts=attempts, backoff=0.01)


def left(folder: Path) -> set[str]:
    return {path.name for path in (folder / "cache").iterdir()}


def test_weights_are_fetched_once_verified_and_then_found(
    tmp_path: Path, release: Release, spec: ModelSpec, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    seen: list[tuple[int, int | None]] = []
    weights = store(tmp_path)
    assert weights.find(spec) is None
    assert not weights.ready(spec)

    folder = weights.pull(spec, lambda have, whole: seen.append((have, whole)))

    np.testing.assert_array_equal(read_checkpoint(folder)["conv2d/kernel"], NOISE)
    assert weights.find(spec) == folder == store(tmp_path).pull(spec)
    assert weights.ready(spec)
    assert len(release.requests) == 1
    assert seen[-1] == (len(release.content), len(release.content))
    assert [have for have, _ in seen] == sorted(have for have, _ in seen)
    assert left(tmp_path) == {"tiny", "tiny.lock"}
    assert "of 0.7 MB" in caplog.text


def test_a_slow_server_within_the_timeout_is_waited_for(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    release.behaviours = [pause(1000, 0.3)]
    store(tmp_path).pull(spec)
    assert len(release.requests) == 1


def test_a_stalled_server_is_given_up_and_resumed(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    release.behaviours = [pause(300_000, 5)]
    store(tmp_path, timeout=1).pull(spec)
    assert [request.get("Range") for request in release.requests] == [None, "bytes=300000-"]


def test_a_server_that_always_stalls_is_unavailable(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    release.behaviours = [pause(0, 0.5)] * 2
    with pytest.raises(WeightsUnavailable, match="2 attempts"):
        store(tmp_path, timeout=0.1, attempts=2).pull(spec)
    assert store(tmp_path).find(spec) is None


def test_a_cut_download_is_resumed_where_it_was_cut(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    release.behaviours = [cut(100_000), cut(50_000)]
    store(tmp_path).pull(spec)
    assert [request.get("Range") for request in release.requests] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
    ]
    assert release.requests[1]["If-Range"] == '"first"'


def test_a_cut_download_is_resumed_by_the_next_process(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    release.behaviours = [cut(100_000)]
    with pytest.raises(WeightsUnavailable):
        store(tmp_path, attempts=1).pull(spec)
    store(tmp_path, attempts=1).pull(spec)
    assert release.requests[1]["Range"] == "bytes=100000-"


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(
    tmp_path: Path, release: Release, spec: ModelSpec
) -> None:
    published, release.content = release.content, bytes(len(release.content))
    release.behaviours = [cut(100_000)]
    with pytest.raises(WeightsUnavailable):
        store(tmp_path, attempts=1).pull(spec)
    release.content, release.etag = published, '"second"'
    store(tmp_path).pull(spec)
    assert len(release.requests) == 2


def test_pieces_of_two_files_without_an_etag_are_thrown_away_once(
    tmp_path: Path, release: Release, spec: ModelSpec
) -> None:
    published, release.content, release.etag = release.content, bytes(len(release.content)), None
    release.behaviours = [cut(100_000)]
    with pytest.raises(WeightsUnavailable):
        store(tmp_path, attempts=1).pull(spec)
    release.content = published
    store(tmp_path).pull(spec)
    assert [request.get("Range") for request in release.requests] == [None, "bytes=100000-", None]


def test_a_server_that_ignores_range_is_heard_from_the_start(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    release.ranges = False
    release.behaviours = [cut(100_000)]
    store(tmp_path).pull(spec)
    assert release.requests[1]["Range"] == "bytes=100000-"


@pytest.mark.parametrize("known", [True, False])
def test_a_content_length_that_is_too_large_does_no_harm(
    tmp_path: Path, release: Release, spec: ModelSpec, known: bool
) -> None:
    release.behaviours = [answer(content_length=len(release.content) + 1000)]
    store(tmp_path).pull(spec if known else unknown_size(spec))
    assert store(tmp_path).ready(spec)


def test_a_content_length_that_is_too_small_is_made_up_for(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    release.behaviours = [answer(content_length=1000)]
    store(tmp_path).pull(spec)
    assert release.requests[1]["Range"] == "bytes=1000-"


def test_more_bytes_than_published_are_not_taken(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    release.behaviours = [answer(content=release.content + bytes(5_000_000))]
    with pytest.raises(WeightsCorrupt, match="more than"):
        store(tmp_path).pull(spec)
    assert left(tmp_path) == {"tiny.lock"}


@pytest.mark.parametrize("known", [True, False])
def test_a_wrong_file_is_refused_and_not_kept(tmp_path: Path, release: Release, spec: ModelSpec, known: bool) -> None:
    release.behaviours = [answer(content=bytes(len(release.content)))]
    with pytest.raises(WeightsCorrupt, match="SHA-256"):
        store(tmp_path).pull(spec if known else unknown_size(spec))
    assert left(tmp_path) == {"tiny.lock"}
    assert len(release.requests) == 1


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_refusal_is_final(tmp_path: Path, release: Release, spec: ModelSpec, code: int) -> None:
    release.behaviours = [status(code)]
    with pytest.raises(WeightsUnavailable, match=str(code)):
        store(tmp_path).pull(spec)
    assert len(release.requests) == 1


def test_a_server_s_trouble_is_tried_again(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    release.behaviours = [status(500), status(503), status(429)]
    store(tmp_path, attempts=4).pull(spec)
    assert len(release.requests) == 4


def test_lasting_trouble_is_unavailable(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    release.behaviours = [status(500)] * 3
    with pytest.raises(WeightsUnavailable, match="500"):
        store(tmp_path).pull(spec)
    assert len(release.requests) == 3


def test_nobody_listening_is_unavailable(tmp_path: Path, packed: bytes) -> None:
    with serve(Release(packed)) as gone:
        spec = model(gone)
    with pytest.raises(WeightsUnavailable, match="2 attempts"):
        store(tmp_path, attempts=2).pull(spec)


def test_a_redirect_is_followed_and_one_without_end_is_not(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    release.behaviours = [status(302, "/elsewhere/tiny.tar.gz")]
    store(tmp_path).pull(spec)
    assert release.paths == ["/v1/tiny.tar.gz", "/elsewhere/tiny.tar.gz"]
    release.behaviours = [status(302, "/v1/tiny.tar.gz")] * 30
    with pytest.raises(WeightsUnavailable, match="redirects"):
        store(tmp_path / "other").pull(spec)


def test_a_download_that_takes_too_long_in_all_is_unavailable(
    tmp_path: Path, release: Release, spec: ModelSpec
) -> None:
    weights = WeightsStore(tmp_path / "cache", attempts=3, backoff=0.01, deadline=0.0)
    with pytest.raises(WeightsUnavailable, match="longer than"):
        weights.pull(spec)
    assert len(release.requests) == 1


def test_a_mirror_replaces_the_address_before_the_name(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    assert spec.archive is not None
    published = replace(spec, archive=replace(spec.archive, url="https://example.invalid/a/b/tiny.tar.gz"))
    mirror = release.url.removesuffix("/v1/tiny.tar.gz") + "/mirror/"
    WeightsStore(tmp_path / "cache", mirror=mirror).pull(published)
    assert release.paths == ["/mirror/tiny.tar.gz"]


def test_of_two_processes_one_fetches_and_both_find(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    release.behaviours = [pause(1000, 0.5)]
    assert spec.archive is not None
    program = (
        "import sys; from pathlib import Path; from engine.catalog import *; from engine.weights import *\n"
        f"archive = {spec.archive!r}\n"
        "spec = ModelSpec('tiny', 'spleeter', '', ('a', 'b'), 44100, 1024, '', '', archive)\n"
        f"print(WeightsStore(Path({str(tmp_path / 'cache')!r})).pull(spec))\n"
    )
    root = Path(__file__).resolve().parents[2]
    children = [
        subprocess.Popen([sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    answers = [child.communicate(timeout=60)[0].strip() for child in children]
    assert answers == [str(tmp_path / "cache" / "tiny")] * 2
    assert len(release.requests) == 1


class GivenUp(Exception):
    pass


def test_waiting_for_another_s_download_can_be_given_up(tmp_path: Path, release: Release, spec: ModelSpec) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "tiny.tar.gz.partial").write_bytes(bytes(1000))  # as far as the other one has come
    told: list[tuple[int, int | None]] = []

    def give_up(have: int, whole: int | None) -> None:
        told.append((have, whole))
        if len(told) == 3:
            raise GivenUp

    with (cache / "tiny.lock").open("a") as lock, ThreadPoolExecutor(1) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pulling = pool.submit(store(tmp_path).pull, spec, give_up)
        try:
            with pytest.raises(GivenUp):
                pulling.result(timeout=20)
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
    assert told == [(1000, len(release.content))] * 3
    assert release.requests == []

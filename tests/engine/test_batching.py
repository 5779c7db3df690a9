"""Runs of many threads through one session: whose numbers are whose, in which order, and who hears of failures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batching import MicroBatcher, collate, split
from engine.errors import BatcherClosed, EngineError
from engine.runtimes.base import Precision, Runtime, RuntimeInfo, Tensor
from engine.runtimes.fake import Behaviour, FakeFailure, FakeRuntime, FakeSession
from engine.runtimes.onnx import OnnxRuntime
from engine.runtimes.openvino import OpenVinoRuntime
from tests.engine.small_graphs import INPUT, SHAPE, magnitudes, write_network

SIZE = 4


class Recorder:
    """A session that gives back twice its input, keeps what it was given, and waits where a test wants."""

    info = RuntimeInfo("recorder", "1", "nothing", "f32", 1)

    def __init__(self) -> None:
        self.batches: list[Tensor] = []
        self.go = threading.Event()
        self.go.set()
        self.closed = False

    def run(self, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        self.batches.append(inputs["x"].copy())
        assert self.go.wait(20)
        if (inputs["x"] < 0).any():
            raise EngineError("negative")
        return [inputs["x"] * 2]

    def close(self) -> None:
        self.closed = True


def item(value: float, count: int = 1, width: int = 3) -> dict[str, Tensor]:
    return {"x": np.full((count, width), value, np.float32)}


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads


def waiting(batcher: MicroBatcher) -> int:
    return len(batcher._waiting)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(0, 5), st.integers(0, 3), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_what_is_collated_is_split_again(counts: list[int], padding: int, width: int, outputs: int) -> None:
    rng = np.random.default_rng(sum(counts))
    requests = [{"x": rng.normal(size=(count, width)).astype(np.float32)} for count in counts]
    batch = collate(requests, sum(counts) + padding)["x"]
    assert batch.shape == (sum(counts) + padding, width)
    assert not batch[sum(counts) :].any()
    answers = split([batch * (n + 1) for n in range(outputs)], counts)
    assert len(answers) == len(requests)
    for request, answer in zip(requests, answers, strict=True):
        assert len(answer) == outputs
        for n, output in enumerate(answer):
            np.testing.assert_array_equal(output, request["x"] * (n + 1))


def test_an_output_without_the_items_is_an_error() -> None:
    with pytest.raises(EngineError, match=r"\(1, 3\) for a batch of 2"):
        split([np.zeros((1, 3), np.float32)], [1, 1])


@pytest.mark.parametrize(
    ("make", "precision"), [(OnnxRuntime, "f32"), (OpenVinoRuntime, "f32"), (OpenVinoRuntime, "auto")]
)
def test_neighbours_change_no_bit(
    tmp_path: Path, make: type[Runtime], precision: Precision | Literal["auto"], pool: ThreadPoolExecutor
) -> None:
    graph = write_network(tmp_path / "small.onnx")
    session = make().load(graph, threads=2, precision=precision, shape={INPUT: (SIZE, *SHAPE)})
    inputs = [magnitudes(seed=seed) for seed in range(SIZE)]
    batcher = MicroBatcher(session, size=SIZE)
    alone = [batcher.run({INPUT: one}) for one in inputs]
    loud = 1000 * magnitudes(seed=9)
    for position in range(SIZE):
        # Each at every place of a full batch, among others and among loud ones.
        turned = [inputs[(place + position) % SIZE] for place in range(SIZE)]
        whole = batcher.run({INPUT: np.concatenate(turned)})
        among = batcher.run({INPUT: np.concatenate([*[loud] * position, inputs[0], *[loud] * (SIZE - 1 - position)])})
        for output in range(2):
            for place in range(SIZE):
                expected = alone[(place + position) % SIZE][output][0]
                np.testing.assert_array_equal(whole[output][place], expected)
            np.testing.assert_array_equal(among[output][position], alone[0][output][0])
    threads = [pool.submit(batcher.run, {INPUT: inputs[n % SIZE]}) for n in range(32)]
    for n, one in enumerate(threads):
        for output in range(2):
            np.testing.assert_array_equal(one.result()[output], alone[n % SIZE][output])
    batcher.close()


def test_batches_fill_while_one_is_under_way(pool: ThreadPoolExecutor) -> None:
    recorder = Recorder()
    batcher = MicroBatcher(recorder, size=SIZE)
    recorder.go.clear()
    first = pool.submit(batcher.run, item(0.5))
    until(lambda: len(recorder.batches) == 1)
    others = []
    for n in range(6):
        others.append(pool.submit(batcher.run, item(n + 1)))
        until(lambda n=n: waiting(batcher) == n + 1)  # type: ignore[misc]
    recorder.go.set()
    for n, other in enumerate([first, *others]):
        np.testing.assert_array_equal(other.result()[0], item(2 * n or 1.0)["x"])
    # In the order of arrival, the missing ones as zeros, and every batch of one shape.
    found = [batch[:, 0].tolist() for batch in recorder.batches]
    assert found == [[0.5, 0, 0, 0], [1, 2, 3, 4], [5, 6, 0, 0]]
    batcher.close()


def test_a_full_batch_does_not_wait_and_a_lonely_one_not_for_ever(pool: ThreadPoolExecutor) -> None:
    recorder = Recorder()
    patient = MicroBatcher(recorder, size=2, delay_seconds=3600)
    pair = [pool.submit(patient.run, item(n)) for n in (1, 2)]
    assert {float(one.result(timeout=20)[0][0, 0]) for one in pair} == {2.0, 4.0}
    patient.close()
    quick = MicroBatcher(Recorder(), size=2, delay_seconds=0.01)
    assert pool.submit(quick.run, item(3)).result(timeout=20)[0].shape == (1, 3)
    quick.close()


def test_requests_of_other_shapes_take_turns(pool: ThreadPoolExecutor) -> None:
    recorder = Recorder()
    batcher = MicroBatcher(recorder, size=2)
    recorder.go.clear()
    results = [pool.submit(batcher.run, item(9))]
    until(lambda: len(recorder.batches) == 1)
    for n, width in enumerate([3, 5, 3, 5]):
        results.append(pool.submit(batcher.run, item(n, width=width)))
        until(lambda n=n: waiting(batcher) == n + 1)  # type: ignore[misc]
    recorder.go.set()
    assert [one.result()[0].shape for one in results] == [(1, 3), (1, 3), (1, 5), (1, 3), (1, 5)]
    assert [batch[:, 0].tolist() for batch in recorder.batches] == [[9, 0], [0, 2], [1, 3]]
    batcher.close()


def test_one_request_may_hold_more_than_a_batch() -> None:
    recorder = Recorder()
    batcher = MicroBatcher(recorder, size=2)
    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    np.testing.assert_array_equal(batcher.run({"x": values})[0], 2 * values)
    assert [len(batch) for batch in recorder.batches] == [2, 2, 2]
    batcher.close()


def test_shapes_are_used_where_they_are_given() -> None:
    recorder = Recorder()
    batcher = MicroBatcher(recorder, size=4, shapes=(1, 2))
    for count in (1, 2, 3, 4):
        batcher.run(item(1, count))
    assert [len(batch) for batch in recorder.batches] == [1, 2, 4, 4]
    batcher.close()


def test_an_error_reaches_its_batch_and_nobody_else(pool: ThreadPoolExecutor) -> None:
    recorder = Recorder()
    batcher = MicroBatcher(recorder, size=2)
    recorder.go.clear()
    results = [pool.submit(batcher.run, item(9))]
    until(lambda: len(recorder.batches) == 1)
    for n, value in enumerate([1, -1, 2, 3]):
        results.append(pool.submit(batcher.run, item(value)))
        until(lambda n=n: waiting(batcher) == n + 1)  # type: ignore[misc]
    recorder.go.set()
    assert [type(one.exception()) for one in results] == [type(None), EngineError, EngineError, type(None), type(None)]
    assert batcher.run(item(4))[0][0, 0] == 8  # and it goes on
    batcher.close()


def test_wrong_inputs_are_the_callers_own_error() -> None:
    batcher = MicroBatcher(Recorder(), size=2)
    for wrong in ({}, {"x": np.zeros((0, 3), np.float32)}, {**item(1), "y": np.zeros((2, 3), np.float32)}):
        with pytest.raises(EngineError, match="same number of items"):
            batcher.run(wrong)
    batcher.close()
    with pytest.raises(ValueError, match="one item or more"):
        MicroBatcher(Recorder(), size=0)
    with pytest.raises(ValueError, match="beyond its size"):
        MicroBatcher(Recorder(), size=2, shapes=(4,))


def test_the_queue_is_bounded_and_closing_fails_all_who_wait(pool: ThreadPoolExecutor) -> None:
    recorder = Recorder()
    batcher = MicroBatcher(recorder, size=1, depth=2)
    recorder.go.clear()
    running = pool.submit(batcher.run, item(1))
    until(lambda: len(recorder.batches) == 1)
    held = [pool.submit(batcher.run, item(2)) for _ in range(5)]
    until(lambda: waiting(batcher) == 2)
    time.sleep(0.05)
    assert waiting(batcher) == 2
    closing = pool.submit(batcher.close)
    assert [type(one.exception(timeout=20)) for one in held] == [BatcherClosed] * 5
    assert not recorder.closed  # not under the feet of the run under way
    recorder.go.set()
    closing.result(timeout=20)
    assert running.result()[0][0, 0] == 2
    assert recorder.closed
    with pytest.raises(BatcherClosed):
        batcher.run(item(1))


def test_songs_at_once_are_served_in_turn(pool: ThreadPoolExecutor) -> None:
    """However many songs ask, none gets a second patch before each that waits has had its first."""
    recorder = Recorder()
    batcher = MicroBatcher(recorder, size=1)
    recorder.go.clear()
    songs = []

    def separate(song: int) -> None:
        for _ in range(20):
            batcher.run(item(song))

    for song in range(5):
        songs.append(pool.submit(separate, song))
        until(lambda song=song: len(recorder.batches) == 1 and waiting(batcher) == song)  # type: ignore[misc]
    recorder.go.set()
    for one in songs:
        one.result()
    served = [int(batch[0, 0]) for batch in recorder.batches]
    assert served[:5] == [0, 1, 2, 3, 4]
    assert [served.count(song) for song in range(5)] == [20] * 5
    batcher.close()


def fake(behaviour: Behaviour) -> FakeSession:
    return FakeRuntime(behaviour).load(Path("none.onnx"), threads=1)


def test_the_fake_fails_as_often_as_it_is_told(pool: ThreadPoolExecutor) -> None:
    session = fake(Behaviour(fail_every=3, delay_seconds=0.001, jitter_seconds=0.002, warmup_seconds=0.01))
    batcher = MicroBatcher(session)
    results = [pool.submit(batcher.run, item(1)) for _ in range(30)]
    failed = [isinstance(one.exception(), FakeFailure) for one in results]
    assert (sum(failed), session.runs) == (10, 30)
    good = next(one.result() for one, bad in zip(results, failed, strict=True) if not bad)
    assert [output.tolist() for output in good] == [[[0.5] * 3]] * 2
    batcher.close()
    with pytest.raises(EngineError, match="closed"):
        session.run(item(1))


def test_the_fakes_times_are_the_same_for_the_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    behaviour = Behaviour(delay_seconds=1, jitter_seconds=2, warmup_seconds=10, seed=5)
    for session in (fake(behaviour), fake(behaviour)):
        for _ in range(4):
            session.run(item(1))
    assert slept[:4] == slept[4:]
    assert 11 <= slept[0] < 13 and all(1 <= seconds < 3 for seconds in slept[1:4])
    assert len(set(slept)) == 4


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_the_fake_kills_its_process() -> None:
    code = (
        "import numpy as np; from pathlib import Path; from engine.runtimes.fake import *\n"
        "session = FakeRuntime(Behaviour(crash_at=2)).load(Path('x'), threads=1)\n"
        "for n in (1, 2): print(len(session.run({'x': np.zeros((1, 2), np.float32)})), flush=True)\n"
    )
    child = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert (child.returncode, child.stdout) == (-signal.SIGKILL, b"2\n")

"""What the benchmark measures with: memory of a tree of processes, CPU time by thread, children's answers."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.child import ROOT, Answer, ChildFailed, Run, call
from bench.contenders import ours
from bench.thread_time import ThreadTime

HELD = 64 * 2**20
ANSWER = {"name": "x", "runs": [{"seconds": 1.0, "cpu_seconds": 1.0, "song_seconds": 2.0}]}
GRANDCHILD = f"""
import json, subprocess, sys, time
held = b"x" * {HELD}
child = subprocess.Popen([sys.executable, "-c", "held = b'x' * {HELD}; print(1, flush=True); input()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
time.sleep(0.5)
child.communicate(b"\\n")
print(json.dumps({ANSWER} | {{"first_done": time.monotonic()}}))
"""


def test_memory_is_that_of_the_whole_tree() -> None:
    answer = call([sys.executable, "-c", GRANDCHILD], watch=True)
    assert answer.peak_pss is not None
    assert 2 * HELD < answer.peak_pss < 2 * HELD + 100 * 2**20
    assert answer.runs == [Run(1.0, 1.0, 2.0)]
    assert answer.first_result > 0.5


def test_too_much_memory_ends_it() -> None:
    greedy = "held = []\nwhile True: held.append(b'x' * 2**22)"
    answer = call([sys.executable, "-c", greedy], watch=True, memory_limit=200 * 2**20)
    assert answer.out_of_memory
    assert not answer.runs


def test_a_failure_says_why() -> None:
    with pytest.raises(ChildFailed, match="no such weights"):
        call([sys.executable, "-c", "raise SystemExit('no such weights')"])


def test_what_libraries_say_before_the_answer_is_passed_over() -> None:
    said = f"print('welcome'); print('''{json.dumps(ANSWER | {'first_done': time.monotonic(), 'note': 'cut'})}''')"
    assert call([sys.executable, "-c", said]).note == "cut"


def test_cpu_time_belongs_to_the_thread_that_took_it() -> None:
    burnt, done = threading.Barrier(3), threading.Event()

    def burn() -> None:
        while time.thread_time() < 0.3:
            pass
        burnt.wait()
        done.wait()  # what a thread did after the last look at it would not be seen

    watch = ThreadTime()
    watch.start()
    threads = [threading.Thread(target=burn, name=f"burner-{number}") for number in range(2)]
    for thread in threads:
        thread.start()
    burnt.wait()
    seconds = watch.stop()
    done.set()
    for thread in threads:
        thread.join()
    assert seconds["burner"] == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize("more", [("--threads-cpu",), ("--at-once", "2")])
def test_ours_answers(more: tuple[str, ...]) -> None:
    song = ROOT / "data" / "sample" / "warmup.mp3"
    lite = ours("lite", "lite", runtime="onnxruntime", precision="f32")
    answer: Answer = call(lite.call(song, 2, *more, *([str(song)] if "--at-once" in more else [])))
    assert answer.name.startswith("lite on onnxruntime")
    assert len(answer.runs) == 2
    songs = 2 if "--at-once" in more else 1
    assert answer.runs[1].song_seconds == pytest.approx(songs * 10.88, abs=0.1)
    if songs == 1:
        assert answer.runs[1].stages["total"] <= answer.runs[1].seconds
        assert answer.runs[1].threads["decoder's process"] > 0
    assert answer.first_result > answer.runs[0].seconds


def test_missing_song_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed):
        call(ours("lite", "lite").call(tmp_path / "none.mp3", 1))

"""Us beside both peers, in one run: who comes next changes with every measurement, A B C A B C.

Memory is watched in runs of its own, because looking takes time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from bench.child import Answer, ChildFailed, Run, call
from bench.contenders import DATA, Contender
from bench.figures import Figures, Results, markdown, median
from bench.song import write_song

MEMORY_SHARE = 0.75
"""Of what is free when it begins: a contender that takes more is ended and called out of memory."""


@dataclass(frozen=True, slots=True)
class Length:
    title: str
    seconds: float
    runs: int
    """In one process; the first is cold."""
    rounds: int


FULL = (Length("10 s", 10, 5, 3), Length("3 min", 180, 3, 3), Length("30 min", 1800, 1, 1))
QUICK = (Length("10 s", 10, 2, 1), Length("20 s", 20, 2, 1), Length("30 s", 30, 1, 1))


def compare(contenders: Sequence[Contender], lengths: Sequence[Length], save: Callable[[Results], None]) -> Results:
    """Figures by length and contender; `save` gets what is there after each length. A contender that fails is
    left out of what follows, with a word about it."""
    limit = int(MEMORY_SHARE * psutil.virtual_memory().available)
    results = {length.title: {each.title: Figures() for each in contenders} for length in lengths}
    broken: set[str] = set()

    def measure(each: Contender, length: Length, measured: Callable[[], Answer]) -> None:
        figures = results[length.title][each.title]
        if each.title in broken or figures.out_of_memory:
            return
        try:
            figures.add(measured())
        except ChildFailed as error:
            broken.add(each.title)
            print(f"{each.title}: {error}", file=sys.stderr)

    for each in contenders:  # graphs are built once, and every file is read from the disk once
        say(f"preparing {each.title}")
        song = write_song(DATA / "song-10.mp3", 10)
        try:
            call(each.call(song, 1))
        except ChildFailed as error:
            broken.add(each.title)
            print(f"{each.title}: {error}", file=sys.stderr)
    for length in lengths:
        song = write_song(DATA / f"song-{length.seconds:.0f}.mp3", length.seconds)
        for each in contenders:
            say(f"{length.title}: memory of {each.title}")
            command = each.call(song, min(2, length.runs))
            measure(each, length, lambda command=command: call(command, watch=True, memory_limit=limit))  # type: ignore[misc]
        for number in range(length.rounds):
            for each in contenders:
                say(f"{length.title}: speed of {each.title}, {number + 1} of {length.rounds}")
                command = each.call(song, length.runs)
                measure(each, length, lambda command=command: call(command))  # type: ignore[misc]
        save(results)
    return results


def stages(contenders: Sequence[Contender], length: Length) -> str:
    """Where our time goes: seconds that the receipt gives each stage, and CPU seconds of each thread.

    Stages overlap: their seconds don't add up to the total. What takes longest is the floor.
    """
    song = write_song(DATA / f"song-{length.seconds:.0f}.mp3", length.seconds)
    rows = []
    for each in (each for each in contenders if not each.peer):
        say(f"{length.title}: stages of {each.title}")
        try:
            answer = call(each.call(song, length.runs, "--threads-cpu"))
        except ChildFailed as error:
            print(f"{each.title}: {error}", file=sys.stderr)
            continue
        runs = answer.runs[1:] or answer.runs
        rows.append([each.title, _listed(runs, "stages"), f"{median([r.cpu_seconds for r in runs]):.2f}",
                     _listed(runs, "threads")])  # fmt: skip
    return markdown(["", "seconds by stage", "CPU s", "CPU seconds by thread"], rows)


def _listed(runs: Sequence[Run], kind: str) -> str:
    """Medians by name, those of a hundredth of a second and more."""
    all_of = [getattr(run, kind) for run in runs]
    medians = {name: median([each.get(name, 0.0) for each in all_of]) or 0.0 for name in all_of[0]}
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in medians.items() if seconds >= 0.01)


def say(words: str) -> None:
    print(f"… {words}", file=sys.stderr, flush=True)

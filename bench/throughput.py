"""Several songs in one worker: at once or one after the other. `python -m bench.throughput [--songs N]`.

At once they must take no longer, and each may take so much more memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from bench.child import call
from bench.compare import say
from bench.contenders import DATA, Contender, contenders
from bench.figures import markdown
from bench.song import write_song


@dataclass(frozen=True, slots=True)
class Throughput:
    title: str
    in_turn: float
    """Seconds for all songs."""
    at_once: float
    memory_in_turn: int
    """Peak PSS in bytes."""
    memory_at_once: int
    songs: int

    @property
    def memory_per_song(self) -> float:
        """Bytes for each song beyond the first."""
        return (self.memory_at_once - self.memory_in_turn) / max(1, self.songs - 1)


def measure(each: Contender, songs: int, seconds: float) -> Throughput:
    """Both ways in a process that has separated one song before; memory is watched in both, so the times
    compare with each other and not with those of the other tables. Raises ChildFailed."""
    song = write_song(DATA / f"song-{seconds:.0f}.mp3", seconds)
    all_songs = [str(song)] * (songs - 1)
    say(f"{songs} songs in turn: {each.title}")
    in_turn = call(each.call(song, 2, *all_songs), watch=True)
    say(f"{songs} songs at once: {each.title}")
    at_once = call(each.call(song, 2, "--at-once", str(songs), *all_songs), watch=True)
    return Throughput(
        each.title,
        sum(run.seconds for run in in_turn.runs[songs:]),
        at_once.runs[1].seconds,
        in_turn.peak_pss or 0,
        at_once.peak_pss or 0,
        songs,
    )


def table(measured: Sequence[Throughput], seconds: float) -> str:
    songs = measured[0].songs if measured else 0
    head = [
        "", f"{songs} songs of {seconds:.0f} s in turn, s", "at once, s",
        "memory in turn, MB", "at once, MB", "for each more song, MB",
    ]  # fmt: skip
    rows = [
        [
            each.title,
            f"{each.in_turn:.2f}",
            f"{each.at_once:.2f}",
            f"{each.memory_in_turn / 1e6:,.0f}",
            f"{each.memory_at_once / 1e6:,.0f}",
            f"{each.memory_per_song / 1e6:.0f}",
        ]
        for each in measured
    ]
    return markdown(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.throughput")
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    ours = [each for each in contenders() if not each.peer]
    print(table([measure(each, options.songs, options.seconds) for each in ours], options.seconds))


if __name__ == "__main__":
    main()

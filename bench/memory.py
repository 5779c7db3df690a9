"""Whether memory stays the same however long a song is: `python -m bench.memory [--longest]`.

10 s, 3 min, 1 h and with --longest 10 h, into nothing. Ends with 1 when the peaks (PSS of the whole process
tree) are further apart than a tenth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.child import Answer, call
from bench.compare import say
from bench.contenders import DATA, Contender, contenders
from bench.figures import markdown
from bench.song import write_song

LENGTHS = {"10 s": 10.0, "3 min": 180.0, "1 h": 3600.0}
LONGEST = {"10 h": 36_000.0}
ALLOWED = 0.10


def measure(each: Contender, lengths: dict[str, float]) -> dict[str, Answer]:
    answers = {}
    for title, seconds in lengths.items():
        song = write_song(DATA / f"song-{seconds:.0f}.mp3", seconds)
        say(f"{title}: memory of {each.title}")
        answers[title] = call(each.call(song, 1, "--null"), watch=True)
        if answers[title].runs[0].song_seconds < seconds:
            raise AssertionError(f"{each.title} separated {answers[title].runs[0].song_seconds} s of {seconds} s.")
    return answers


def spread(peaks: Sequence[int]) -> float:
    """How much the highest peak is above the lowest, as a share of the lowest."""
    return max(peaks) / min(peaks) - 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.memory")
    parser.add_argument("--longest", action="store_true", help="ten hours as well: some minutes for each")
    parser.add_argument("--only", default="", help="contenders whose title has this in it")
    options = parser.parse_args()
    lengths = LENGTHS | (LONGEST if options.longest else {})
    rows, worst = [], 0.0
    for each in contenders():
        if each.peer or options.only not in each.title:
            continue
        answers = measure(each, lengths)
        peaks = [answer.peak_pss or 0 for answer in answers.values()]
        worst = max(worst, spread(peaks))
        rows.append([each.title, *(f"{peak / 1e6:,.0f}" for peak in peaks), f"{spread(peaks):.1%}"])
    print(markdown(["peak memory, MB", *lengths, "spread"], rows))
    if worst > ALLOWED:
        sys.exit(f"Memory grows with the song: the peaks are {worst:.1%} apart, and {ALLOWED:.0%} are allowed.")


if __name__ == "__main__":
    main()

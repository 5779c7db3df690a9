from __future__ import annotations

import pytest

from bench.child import Answer, Run
from bench.figures import Figures, comparison, markdown, ratios, spread
from bench.memory import spread as memory_spread
from bench.throughput import Throughput


def answered(*seconds: float, song: float = 180.0, note: str = "", peak: int | None = None) -> Answer:
    return Answer("x 1.0", [Run(each, each, song) for each in seconds], seconds[0] + 1, note, peak)


def test_medians_of_cold_and_warm_runs() -> None:
    figures = Figures()
    figures.add(answered(9.0, 2.0, 4.0))
    figures.add(answered(7.0, 3.0, 20.0))
    figures.add(answered(100.0, 100.0, peak=5_000_000))  # memory was watched: its speed says nothing
    assert figures.seconds == 3.5
    assert figures.speed == pytest.approx((180 / 3 + 180 / 4) / 2)
    assert [run.seconds for run in figures.cold] == [9.0, 7.0]
    assert figures.first_results == [10.0, 8.0]
    assert figures.peak_pss == 5_000_000
    assert spread(figures) == "±257 %"


def test_the_table_says_what_a_peer_could_not_do() -> None:
    fast, stopped, cut = Figures(), Figures(), Figures()
    fast.add(answered(2.0, 2.0))
    cut.add(answered(30.0, 30.0, song=600, note="cut at 600 s"))
    stopped.add(Answer("", (), 0.0, peak_pss=16_000_000_000, out_of_memory=True))
    results = {"10 s": {"ours": fast, "a": fast, "b": fast}, "3 min": {"ours": fast, "a": fast, "b": fast},
               "30 min": {"ours": fast, "a": stopped, "b": cut}}  # fmt: skip
    rows = {line.split("|")[1].strip(): line for line in comparison(results, "10 s", "3 min", "30 min").splitlines()}
    assert "out of memory" in rows["a"] and "stopped at 16,000" in rows["a"]
    assert "20 (cut at 600 s)" in rows["b"]  # by the 600 s that it did separate
    assert "90" in rows["ours"]


def test_ratios_are_of_us_to_each_peer() -> None:
    slow, fast, none = Figures(), Figures(), Figures()
    slow.add(answered(8.0, 8.0))
    fast.add(answered(2.0, 2.0))
    results = {"3 min": {"ours": fast, "peer": slow, "absent": none}}
    assert ratios(results, "3 min", ["peer", "absent"]) == ["ours: 4.0x peer"]


def test_columns_line_up() -> None:
    lines = markdown(["", "s"], [["first", "1.00"], ["b", "10.00"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].endswith(":|")


def test_memory_for_each_more_song() -> None:
    measured = Throughput("ours", 10.0, 9.0, 400, 1100, songs=8)
    assert measured.memory_per_song == 100
    assert memory_spread([400, 420, 440]) == pytest.approx(0.1)

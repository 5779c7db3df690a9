"""What many runs say together: medians for each contender and length, and the table made of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.child import Answer, Run


@dataclass(slots=True)
class Figures:
    """Of one contender with one song. A process's first song is `cold`, the others are `warm`."""

    name: str = ""
    note: str = ""
    cold: list[Run] = field(default_factory=list)
    warm: list[Run] = field(default_factory=list)
    first_results: list[float] = field(default_factory=list)
    peak_pss: int | None = None
    out_of_memory: bool = False

    def add(self, answer: Answer) -> None:
        """Speed is taken from runs whose memory was not watched."""
        self.name, self.note = answer.name or self.name, answer.note or self.note
        self.out_of_memory |= answer.out_of_memory
        if answer.peak_pss is not None:
            self.peak_pss = max(self.peak_pss or 0, answer.peak_pss)
        elif answer.runs:
            self.first_results.append(answer.first_result)
            self.cold.append(answer.runs[0])
            self.warm.extend(answer.runs[1:])

    @property
    def seconds(self) -> float | None:
        """Median of warm runs; of cold ones where a length had no second run."""
        return median([run.seconds for run in self.warm or self.cold])

    @property
    def speed(self) -> float | None:
        """Times real time, by what was really separated."""
        return median([run.song_seconds / run.seconds for run in self.warm or self.cold])


Results = Mapping[str, Mapping[str, Figures]]
"""Length → contender's title → figures."""


def median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def comparison(results: Results, short: str, middle: str, long: str) -> str:
    """The one table, as Markdown. Peers beside us, whatever they could not do said in its place."""
    head = [
        "", f"first result after start ({short}), s", f"{short} warm, s", f"{middle} cold, s", f"{middle} warm, s",
        f"{middle}, × real time", f"{long}, s", f"{long}, × real time",
        f"peak memory {short}, MB", f"{middle}, MB", f"{long}, MB",
    ]  # fmt: skip
    rows = []
    for title in results[short]:
        at_short, at_middle, at_long = (results[length].get(title, Figures()) for length in (short, middle, long))
        cold = median([run.seconds for run in at_middle.cold])
        rows.append(
            [
                title,
                number(median(at_short.first_results)),
                number(at_short.seconds),
                number(cold, at_middle),
                number(at_middle.seconds, at_middle),
                number(at_middle.speed, at_middle, places=0),
                number(at_long.seconds, at_long, places=1),
                number(at_long.speed, at_long, places=0),
                *(memory(figures) for figures in (at_short, at_middle, at_long)),
            ]
        )
    return markdown(head, rows)


def ratios(results: Results, length: str, peers: Sequence[str]) -> list[str]:
    """`ours, openvino f32: 4.1x sherpa-onnx f32, …`, warm, by seconds of the same song."""
    lines = []
    for title, figures in results[length].items():
        against = [
            f"{results[length][peer].seconds / figures.seconds:.1f}x {peer}"  # type: ignore[operator]
            for peer in peers
            if title not in peers and figures.seconds and peer in results[length] and results[length][peer].seconds
        ]
        if against:
            lines.append(f"{title}: " + ", ".join(against))
    return lines


def spread(figures: Figures) -> str:
    """How far apart the warm runs were, in percent of their median."""
    seconds = [run.seconds for run in figures.warm]
    middle = median(seconds)
    return f"±{50 * (max(seconds) - min(seconds)) / middle:.0f} %" if middle else ""


def number(value: float | None, figures: Figures | None = None, places: int = 2) -> str:
    if figures is not None and figures.out_of_memory:
        return "out of memory"
    if value is None:
        return "–"
    note = f" ({figures.note})" if figures is not None and figures.note else ""
    return f"{value:.{places}f}{note}"


def memory(figures: Figures) -> str:
    if figures.peak_pss is None:
        return "–"
    return f"{'stopped at ' if figures.out_of_memory else ''}{figures.peak_pss / 1e6:,.0f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest cell, so that it reads well unrendered too."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *others]) + " |"

    rule = "|" + "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])

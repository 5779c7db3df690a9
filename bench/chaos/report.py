"""The run as one table, as JSON, and as the sentences that say what did not hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.chaos.run import Outcome
from bench.chaos.schedule import KINDS
from bench.figures import markdown

SHOWN = 12
"""Of the sentences of one kind."""
STAGES = ("decode", "network", "write", "commit")
LONG_KILLS, LONG_STAGE_KILLS = 200, 20
STALL_SECONDS = 30.0


def by_stage(outcome: Outcome) -> dict[str, int]:
    """Of workers and decoders: at which of the four stages they died."""
    return {
        stage: sum(count for (_, where), count in outcome.kills.items() if where.split()[0] == stage)
        for stage in STAGES
    }


def table(outcome: Outcome) -> str:
    verdict = outcome.verdict
    rows: list[Sequence[object]] = [
        ["seed", outcome.plan.seed],
        ["minutes", f"{outcome.minutes:.1f}"],
        ["accepted", verdict.accepted],
        *([status, verdict.ended[status]] for status in ("completed", "failed", "cancelled")),
        *([f"failed: {code}", count] for code, count in sorted(verdict.failed.items())),
        *([name, count] for name, count in verdict.faults().items()),
        ["files without row when all had stopped, for the sweep", len(verdict.left.due)],
        ["files without row when all had stopped, for a day", len(verdict.left.young)],
        ["files that the check removed after that day", verdict.checked],
        ["stems with the same bits as before", verdict.compared],
        ["longest stall", f"{outcome.stall:.1f} s"],
        ["kills", sum(outcome.kills.values())],
        *([f"kills: {target}, {where}", count] for (target, where), count in sorted(outcome.kills.items())),
        ["kills that found nobody", outcome.missed],
        *([f"outage: {kind}", _times(outcome, kind)] for kind in KINDS),
        *([f"answers: {what}", count] for what, count in sorted(outcome.answers.items())),
        *([f"ended by itself: {what}", count] for what, count in sorted(outcome.ends.items())),
        ["processes left behind", outcome.left_behind],
    ]
    return markdown(["chaos", ""], [[str(cell) for cell in row] for row in rows])


def figures(outcome: Outcome) -> dict[str, Any]:
    verdict = outcome.verdict
    return {
        "seed": outcome.plan.seed,
        "long": outcome.plan.long,
        "minutes": round(outcome.minutes, 2),
        "accepted": verdict.accepted,
        "ended": dict(verdict.ended),
        "failed": dict(verdict.failed),
        "faults": verdict.faults(),
        "left": {"for the sweep": len(verdict.left.due), "for a day": len(verdict.left.young)},
        "checked": verdict.checked,
        "compared": verdict.compared,
        "stall_seconds": round(outcome.stall, 2),
        "kills": {f"{target}: {where}": count for (target, where), count in sorted(outcome.kills.items())},
        "kills_by_stage": by_stage(outcome),
        "missed": outcome.missed,
        "outages": outcome.outages,
        "disk": outcome.disk,
        "answers": outcome.answers,
        "ends": outcome.ends,
        "unclean": outcome.unclean,
        "left_behind": outcome.left_behind,
        "oddities": outcome.oddities,
        "wrong": wrong(outcome),
    }


def wrong(outcome: Outcome) -> list[str]:
    """Empty when every promise held."""
    verdict = outcome.verdict
    found = [] if outcome.quiet else ["Not every task came to its end in time."]
    kinds = {
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "wrong": verdict.wrong,
        "ledger": verdict.ledger,
        "not swept": verdict.unswept,
        "orphan": verdict.orphans,
        "missing": verdict.missing,
        "odd": outcome.oddities,
    }
    for kind, sentences in kinds.items():
        found += [f"{kind}: {sentence}" for sentence in sentences[:SHOWN]]
        if len(sentences) > SHOWN:
            found.append(f"{kind}: and {len(sentences) - SHOWN} more")
    if verdict.holds:
        found.append(f"{verdict.holds} millicredits are still held.")
    if verdict.parts:
        found.append(f"{verdict.parts} parts are left.")
    if outcome.left_behind:
        found.append(f"{outcome.left_behind} processes outlived what started them.")
    found += [f"SIGTERM: {what}" for what in outcome.unclean]
    if outcome.stall > STALL_SECONDS:
        found.append(f"Work waited {outcome.stall:.1f} s for a worker that was free.")
    if outcome.answers.get("500"):
        found.append(f"{outcome.answers['500']} answers were 500.")
    # A short run may do without a disk that it can fill, and its table says so.
    needed = [kind for kind in KINDS if outcome.plan.long or outcome.disk or kind != "disk"]
    if never := [kind for kind in needed if not outcome.outages.get(kind)]:
        found.append(f"Outages that never happened: {', '.join(never)}.")
    if outcome.plan.long:
        found += _too_few(outcome)
    return found


def _times(outcome: Outcome, kind: str) -> str:
    if kind == "disk" and not outcome.disk:
        return "not possible here: no mount namespace"
    return str(outcome.outages.get(kind, 0))


def _too_few(outcome: Outcome) -> list[str]:
    kills, stages = sum(outcome.kills.values()), by_stage(outcome)
    few = [f"Only {count} kills at the stage {stage}." for stage, count in stages.items() if count < LONG_STAGE_KILLS]
    return [f"Only {kills} kills.", *few] if kills < LONG_KILLS else few

"""SIGKILL, aimed: at a worker that is at a stage, at a decoder at work, at an API process with a request in hand."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import psutil

from bench.chaos.fleet import Api, Fleet, Member, Worker, taken
from bench.chaos.load import Traffic
from bench.chaos.schedule import Kill

POLL_SECONDS = 0.001
WAIT_SECONDS = 25.0
"""For somebody to get to the stage that is wanted."""
HELD_AFTER = 5.0
"""Seconds after which who comes by is asked to hold there."""
DECODER = "engine.decoder.child"


class Killer:
    """Works off the kills of a schedule, one after the other."""

    def __init__(self, fleet: Fleet, traffic: Traffic, rng: random.Random, give_up: threading.Event) -> None:
        self.done: Counter[tuple[str, str]] = Counter()
        """By target and where it was when it died."""
        self.missed = 0
        self._fleet, self._traffic, self._rng, self._give_up = fleet, traffic, rng, give_up

    @property
    def count(self) -> int:
        return self.done.total()

    def run(self, kills: Sequence[Kill]) -> None:
        """Those that find nobody are tried once more in the end."""
        self._run(self._run(kills))

    def _run(self, kills: Sequence[Kill]) -> list[Kill]:
        missed = []
        for kill in kills:
            if self._give_up.wait(kill.pause):
                break
            found = {"worker": self._worker, "decoder": self._decoder, "api": self._api}[kill.target](kill)
            if found is None:
                missed.append(kill)
            else:
                self.done[kill.target, found] += 1
        self.missed = len(missed)
        return missed

    def _worker(self, kill: Kill) -> str | None:
        if not kill.stage:
            return self._any_worker(kill)
        began = time.monotonic()
        try:
            while time.monotonic() < began + WAIT_SECONDS and not self._give_up.is_set():
                hold = kill.stage == "commit" or time.monotonic() > began + HELD_AFTER
                for worker in self._fleet.workers:
                    if hold:
                        worker.board.want(kill.stage, kill.point)
                    if not is_at(worker, kill.stage, kill.point):
                        continue
                    with taken(worker) as free:
                        if free and worker.runs and is_at(worker, kill.stage, kill.point):
                            return self._end(worker, kill)
                time.sleep(POLL_SECONDS)
            return None
        finally:
            for worker in self._fleet.workers:
                worker.board.want()

    def _any_worker(self, kill: Kill) -> str | None:
        worker = self._rng.choice(self._fleet.workers)
        with taken(worker, WAIT_SECONDS) as free:
            return self._end(worker, kill) if free and worker.runs else None

    def _end(self, worker: Worker, kill: Kill) -> str:
        """Where it was is read when it is dead."""
        worker.restart_after = kill.restart_after
        was_ready = worker.board.is_ready
        worker.kill()
        seen = worker.board.seen()
        stages = {each.stage for each in seen}
        if kill.stage in stages:
            return kill.stage if not kill.point else f"{kill.stage} {kill.point}"
        if stages:
            return min(stages)
        return ("between" if worker.board.working else "idle") if was_ready else "starting"

    def _decoder(self, _kill: Kill) -> str | None:
        """One of a worker that decodes just now, or of an API process that counts a song's seconds."""
        give_up = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < give_up and not self._give_up.is_set():
            members: list[Member] = [*self._fleet.workers, *self._fleet.apis]
            self._rng.shuffle(members)
            for member in members:
                busy = is_at(member, "decode") if isinstance(member, Worker) else self._busy(member, "POST uploads")
                if busy and member.runs and (children := decoders(member)):
                    with suppress(psutil.Error):  # it has ended by itself
                        self._rng.choice(children).send_signal(signal.SIGKILL)
                        return "decode" if isinstance(member, Worker) else "upload"
            time.sleep(POLL_SECONDS)
        return None

    def _api(self, kill: Kill) -> str | None:
        """While it answers somebody, if anybody asks."""
        give_up = time.monotonic() + WAIT_SECONDS
        kind = self._rng.choice(("POST uploads", "POST separate", ""))
        while not self._give_up.is_set():
            late = time.monotonic() > give_up
            for api in self._rng.sample(self._fleet.apis, len(self._fleet.apis)):
                if not late and not self._busy(api, kind):
                    continue
                with taken(api) as free:
                    if free and api.runs:
                        found = self._under_way(api)
                        api.restart_after = kill.restart_after
                        api.kill()
                        return found
            if late:
                return None
            time.sleep(POLL_SECONDS)
        return None

    def _busy(self, member: Member, kind: str) -> bool:
        assert isinstance(member, Api)
        under_way = dict(self._traffic.under_way)
        return not kind or under_way.get((member.port, kind), 0) > 0

    def _under_way(self, api: Api) -> str:
        kinds = {kind for (port, kind), count in dict(self._traffic.under_way).items() if port == api.port and count}
        for kind in ("POST uploads", "POST separate"):
            if kind in kinds:
                return kind
        return "other requests" if kinds else "idle"


def is_at(member: Worker, stage: str, point: str = "") -> bool:
    return any(seen.stage == stage and seen.point == point for seen in member.board.seen())


def decoders(member: Member) -> list[psutil.Process]:
    found = []
    for child in member.children():
        with suppress(psutil.Error):
            if any(DECODER in word for word in child.cmdline()):
                found.append(child)
    return found

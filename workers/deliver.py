"""Delivers webhooks: one thread in every worker's main process, beside the sweep.

The thread runs an event loop, so that slow receivers hold neither threads nor each other. The database is asked
by one thread more, for nothing may block the loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from backend.db import Database
from backend.settings.webhook import Webhook
from backend.webhook import outbox, signature
from backend.webhook.outbox import Claim, Outcome
from workers.post import Sender

log = logging.getLogger(__name__)

Result = TypeVar("Result")

LEASE_MARGIN_SECONDS = 15.0
"""Beyond the time that a receiver may take: for the database."""
STOP_SECONDS = 3.0
"""What is under way may end; what takes longer is given back."""


class Deliverer:
    def __init__(self, database: Database, settings: Webhook, sender: Sender | None = None) -> None:
        self._database = database
        self._settings = settings
        self._sender = sender
        self._thread = threading.Thread(target=self._work, name="webhooks", daemon=True)
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None

    def start(self) -> None:
        if self._settings.parallel:
            self._thread.start()

    def stop(self) -> None:
        """Returns when nothing is under way any more."""
        self._stopping.set()
        if self._loop is not None and self._wake is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._wake.set)
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS + LEASE_MARGIN_SECONDS)

    def _work(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception:
            log.exception("webhooks are no longer delivered by this worker")

    async def _run(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        sender = self._sender or Sender(self._settings)
        with ThreadPoolExecutor(1, "webhooks-db") as executor:
            under_way: dict[asyncio.Task[None], Claim] = {}
            while not self._stopping.is_set():
                while len(under_way) < self._settings.parallel:
                    claim = await self._ask(executor, self._claim)
                    if claim is None:
                        break
                    under_way[asyncio.create_task(self._deliver(executor, sender, claim))] = claim
                await self._pause(under_way)
            await self._end(executor, under_way)

    async def _pause(self, under_way: dict[asyncio.Task[None], Claim]) -> None:
        """Until something ends, or it is time to look, or to stop."""
        assert self._wake is not None
        stop = asyncio.create_task(self._wake.wait())
        done, _ = await asyncio.wait(
            {*under_way, stop}, timeout=self._settings.poll_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        stop.cancel()
        for task in done & under_way.keys():
            del under_way[task]  # type: ignore[arg-type]

    async def _end(self, executor: ThreadPoolExecutor, under_way: dict[asyncio.Task[None], Claim]) -> None:
        if not under_way:
            return
        _, late = await asyncio.wait(under_way, timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in late:
            await self._ask(executor, partial(outbox.give_back, self._database, under_way[task]))

    async def _deliver(self, executor: ThreadPoolExecutor, sender: Sender, claim: Claim) -> None:
        try:
            headers = signature.headers(claim.secrets, claim.message, int(claim.at.timestamp()), claim.body)
            outcome = await sender.post(claim.url, headers, claim.body)
        except Exception:
            log.exception("webhook delivery %s", claim.delivery_id)
            outcome = Outcome(outbox.BROKEN_ANSWER)
        if outcome.error is not None:
            log.info("webhook delivery %s attempt %d: %s", claim.delivery_id, claim.attempt, outcome.error)
        await self._ask(executor, partial(outbox.settle, self._database, self._settings, claim, outcome))

    def _claim(self) -> Claim | None:
        return outbox.claim(self._database, self._settings.timeout_seconds + LEASE_MARGIN_SECONDS)

    async def _ask(self, executor: ThreadPoolExecutor, question: Callable[[], Result]) -> Result | None:
        """None when the database can't be asked: the lease ends by itself, and the delivery is tried again."""
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, question)
        except SQLAlchemyError as error:
            log.warning("webhooks: the database can't be used: %s", type(error).__name__)
        except Exception:
            log.exception("webhooks")
        return None

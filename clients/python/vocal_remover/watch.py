"""A folder in, a folder out: every song that is put in gets its stems.

What can't be separated is moved to `failed/` inside the folder, beside a text that says why; put it back to
have it tried again. A process that is stopped or killed goes on where it was: a song is not sent, ordered or
paid for twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from vocal_remover.async_client import AsyncClient
from vocal_remover.calls import is_busy
from vocal_remover.errors import (
    Damaged,
    NotAllowed,
    NotCompleted,
    NotFound,
    OutOfCredits,
    Refused,
    SongChanged,
    TaskCancelled,
    Unreadable,
    VocalRemoverError,
)
from vocal_remover.records import Wishes
from vocal_remover.watch_state import Song, State

log = logging.getLogger(__name__)

FAILED = "failed"
SUFFIXES = {".mp3", ".wav", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".aif", ".aiff"}


@dataclass(frozen=True)
class Plan:
    source: Path
    target: Path
    wishes: Wishes = field(default_factory=lambda: Wishes())
    every: float = 2.0
    """Seconds between two looks; a file that is the same at two of them is taken to be whole."""
    at_once: int = 2
    later: float = 60.0
    """Seconds until a song is tried again that the service was too busy, or the account too poor for."""


class Watch:
    def __init__(self, client: AsyncClient, plan: Plan, say: Callable[[str], None] = log.info) -> None:
        self._client, self._plan, self._say = client, plan, say
        self._state = State(plan.target)
        self._seen: dict[str, tuple[int, int]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}
        self._slots = asyncio.Semaphore(plan.at_once)

    async def run(self, once: bool = False) -> int:
        """Until it is cancelled. With `once`: until no song can be dealt with now; returns how many are put off.

        Raises NotAllowed: without a good key no song would fare better. Raises OSError when there is no room
        for stems.
        """
        try:
            while True:
                growing = self._look()
                if once and not growing and not self._running:
                    return len(self._not_before)
                if self._running:
                    await asyncio.wait(
                        self._running.values(), timeout=self._plan.every, return_when=asyncio.FIRST_COMPLETED
                    )
                else:
                    await asyncio.sleep(self._plan.every)
                for name, task in list(self._running.items()):
                    if task.done():
                        del self._running[name]
                        task.result()
        finally:
            tasks = list(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._state.close()

    def _look(self) -> bool:
        """Start with every song that is whole; whether there are any that may still grow."""
        found: dict[str, tuple[int, int]] = {}
        for path in sorted(self._plan.source.iterdir()):
            with suppress(FileNotFoundError):  # moved away just now
                if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file():
                    found[path.name] = (path.stat().st_size, path.stat().st_mtime_ns)
        growing = False
        now = asyncio.get_running_loop().time()
        for name, mark in found.items():
            if name in self._running or self._not_before.get(name, now) > now:
                continue
            if self._seen.get(name) != mark:
                growing = growing or not self._done(name, mark)
            elif (song := self._state.begin(name, *mark, self._plan.wishes)) is not None:
                self._not_before.pop(name, None)
                self._running[name] = asyncio.create_task(self._deal(name, song))
        self._seen = found
        return growing

    def _done(self, name: str, mark: tuple[int, int]) -> bool:
        song = self._state.songs.get(name)
        return song is not None and song.done and (song.size, song.changed) == mark

    async def _deal(self, name: str, song: Song) -> None:
        async with self._slots:
            try:
                await self._separate(name, song)
            except NotAllowed:
                raise
            except (SongChanged, FileNotFoundError):
                self._say(f"{name}: changed or moved while it was sent")
                self._state.forget(name)
            except (OutOfCredits, Damaged, Unreadable, PermissionError) as error:
                self._put_off(name, error)
            except VocalRemoverError as error:
                if is_busy(error):
                    self._put_off(name, error)
                else:
                    self._set_aside(name, error)

    async def _separate(self, name: str, song: Song) -> None:
        if song.task_id is None:
            await self._order(name, song)
        assert song.task_id is not None
        task = await self._client.wait(song.task_id)
        files = await self._client.download(task, self._plan.target / song.folder)
        song.done = True
        self._state.save()
        self._say(f"{name}: {', '.join(files)} in {self._plan.target / song.folder}")

    async def _order(self, name: str, song: Song) -> None:
        if song.upload_id is not None:
            try:
                return await self._submit(name, song)
            except NotFound:  # deleted there since
                self._state.send_again(song)
        self._say(f"{name}: sending {song.size} bytes")
        song.upload_id = (await self._client.upload(self._plan.source / name)).id
        self._state.save()
        return await self._submit(name, song)

    async def _submit(self, name: str, song: Song) -> None:
        assert song.upload_id is not None
        ordered = await self._client.submit(song.upload_id, idempotency_key=song.key, **song.wishes)
        song.task_id = ordered.id
        self._state.save()
        self._say(f"{name}: task {ordered.id} with model {ordered.model}")

    def _put_off(self, name: str, error: Exception) -> None:
        asked = getattr(error, "retry_after", None) or 0.0
        self._not_before[name] = asyncio.get_running_loop().time() + max(self._plan.later, asked)
        self._say(f"{name}: {error} Trying again later.")

    def _set_aside(self, name: str, error: VocalRemoverError) -> None:
        folder = self._plan.source / FAILED
        folder.mkdir(exist_ok=True)
        path, number = folder / name, 1
        while path.exists():
            number += 1
            path = folder / f"{Path(name).stem} ({number}){Path(name).suffix}"
        path.with_name(f"{path.name}.why.txt").write_text(_reason(error), "utf-8")
        with suppress(FileNotFoundError):  # it was taken away
            (self._plan.source / name).rename(path)
        self._state.forget(name)
        self._say(f"{name}: set aside in {folder}: {error}")


def _reason(error: VocalRemoverError) -> str:
    lines = [str(error)]
    if isinstance(error, Refused):
        lines = [error.detail, error.advice, f"Code: {error.code}", f"Request: {error.request_id or 'unknown'}"]
    elif isinstance(error, NotCompleted):
        lines += [f"Code: {error.code or 'none'}", f"Task: {error.task.id}"]
        if isinstance(error, TaskCancelled):
            lines.append("Somebody cancelled it.")
    return "\n".join(line for line in lines if line) + "\n"

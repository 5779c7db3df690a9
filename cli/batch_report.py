"""What a batch of songs tells while it runs: bars on a terminal, lines elsewhere, JSON on request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.separate import Progress

ADVICE: Mapping[str, str] = {
    "engine_error": "Try again; if it happens again, report it.",
    "audio_empty": "Check the song, and --start if it was given: there is no sound in it.",
    "audio_too_long": "Give a higher --max-seconds, or a part of the song with --start and --duration.",
    "audio_undecodable": "Give a mp3, wav, flac, ogg, m4a/aac, opus or aiff file that plays in a music player.",
    "audio_hostile": "Re-encode the file with a common tool and give that copy.",
    "decoder_crashed": "Re-encode the file with a common tool and give that copy.",
    "unknown_model": "`vocal-remover models list` shows them.",
    "weights_unavailable": (
        "Check the network, give a folder that holds the weights with --weights, name a mirror with "
        "VR_ENGINE__WEIGHTS_MIRROR, or use --model lite."
    ),
    "weights_corrupt": "Delete what is there and run `vocal-remover models pull`, or give --weights.",
    "runtime_unavailable": "Install what is missing, or leave --runtime and --precision out.",
}
"""For somebody with a command line, where the engine's own advice speaks to the user of a service."""


class NobodyReads(Exception):
    """Standard output was closed by the program that read it: no result can be told any more."""


class BatchReport:
    """Tells people on stderr and, with `as_json`, programs on stdout: one object a song, in order."""

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        self._quiet, self._json = quiet, as_json
        self._live = self._console.is_terminal and not quiet
        percent = TextColumn("{task.percentage:>3.0f} %")
        columns = (TextColumn("{task.description}", markup=False), BarColumn(30), percent)
        self._bars = Bars(
            *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self._console, disable=not self._live
        )
        self._batch: TaskID | None = None
        self._song: TaskID | None = None
        self._finished, self._name = 0, ""
        self.counts = {"done": 0, "skipped": 0, "failed": 0}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, songs: int) -> None:
        if songs > 1:
            self._batch = self._bars.add_task(f"0 of {songs} songs", total=songs)

    def start(self, song: Path) -> None:
        self._name = shown(song)
        self._song = self._bars.add_task(self._name, total=1.0)

    def advance(self, progress: Progress) -> None:
        self.stage(progress.stage, progress.fraction)

    def stage(self, stage: str, fraction: float | None = None) -> None:
        if self._song is not None:
            self._bars.update(self._song, completed=fraction, description=f"{self._name}: {stage}")
        if self._batch is not None and fraction is not None:
            self._bars.update(self._batch, completed=self._finished + fraction)

    def pulling(self, done: int, total: int | None) -> None:
        """Bytes of weights."""
        of_all = f" of {total / 1e6:.0f}" if total else ""
        self.stage(f"fetching weights, {done / 1e6:.0f}{of_all} MB")

    def note(self, text: str) -> None:
        if not self._quiet:
            self._console.print(Text(text))

    def done(self, song: Path, folder: Path, receipt: Mapping[str, Any]) -> None:
        self.note(f"✓ {shown(song)} → {shown(folder)} ({receipt['real_time_factor']:.0f} times real time)")
        for warning in receipt["warnings"]:
            self.note(f"  {warning['code']}: {warning['detail']}")
        self._end("done", song, {"folder": str(folder), "receipt": dict(receipt)})

    def skipped(self, song: Path, folder: Path, receipt: Mapping[str, Any]) -> None:
        self.note(f"- {shown(song)}: done already, in {shown(folder)}")
        self._end("skipped", song, {"folder": str(folder), "receipt": dict(receipt)})

    def failed(self, song: Path | None, error: EngineError | OSError) -> None:
        fault = explain(error)
        where = f"{shown(song)}: " if song is not None else ""
        if fault["detail"].startswith(where):  # it names its file itself
            where = ""
        self._console.print(Text(f"✗ {where}{fault['detail']} {fault['advice']}".rstrip(), "red"))
        self._end("failed", song, {"error": fault})

    def summary(self) -> None:
        if sum(self.counts.values()) > 1:
            self.note(", ".join(f"{count} {status}" for status, count in self.counts.items() if count))

    def _end(self, status: Literal["done", "skipped", "failed"], song: Path | None, rest: dict[str, Any]) -> None:
        self.counts[status] += 1
        self._finished += 1
        if self._json:
            line = json.dumps({"song": None if song is None else str(song), "status": status, **rest})
            try:
                typer.echo(line)
            except BrokenPipeError as error:
                raise NobodyReads from error
        if self._song is not None:
            self._bars.remove_task(self._song)
            self._song = None
        if self._batch is not None:
            total = self._bars.tasks[0].total or 0
            self._bars.update(
                self._batch, completed=self._finished, description=f"{self._finished} of {total:.0f} songs"
            )


def explain(error: EngineError | OSError) -> dict[str, str]:
    """code, detail and advice of what went wrong."""
    if isinstance(error, EngineError):
        return {"code": error.code, "detail": str(error), "advice": ADVICE.get(error.code, error.advice)}
    name = f"{shown(Path(error.filename))}: " if isinstance(error.filename, str) else ""
    return {
        "code": "file_error",
        "detail": f"{name}{error.strerror or error}.",
        "advice": "Check the place, its permissions and its free space.",
    }


def shown(path: Path) -> str:
    """A name as it can be printed anywhere: no bytes that are not text, nothing that moves the cursor."""
    text = bytes(path).decode("utf-8", "replace")
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)

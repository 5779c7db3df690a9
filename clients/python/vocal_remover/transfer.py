"""Songs up, stems down: neither loses what has arrived when a connection breaks."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx

from vocal_remover.calls import Call, Caller, unreachable, without_query
from vocal_remover.effects import Close, Do, Flow, Sleep, Take
from vocal_remover.errors import Damaged, Refused, Unreachable, VocalRemoverError
from vocal_remover.records import Listener, Progress, Stem, Upload, read
from vocal_remover.song_body import PIECE, SongBody

COUNTING_SECONDS = 600.0
"""The service reads the whole song before it answers."""
RECENT = 20


def send_song(caller: Caller, song: Path, tell: Listener) -> Flow[Upload]:
    size: int = (yield Do(song.stat)).st_size
    body = SongBody(song, size, tell)
    call = Call(
        "POST", ("uploads",), headers=body.headers, body=body, repeatable=False, silence=COUNTING_SECONDS
    )  # fmt: skip
    failures = 0
    while True:
        body.begin()
        try:
            answer = yield from caller.ask(call)
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and error.status not in (502, 504):
                raise
            failures += 1
            wait = caller.patience.wait(failures)
            if wait is None:
                raise
            yield Sleep(wait)
            # It may be there, and only the answer got lost.
            if body.sha256 is not None and (arrived := (yield from _arrived(caller, song.name, body.sha256))):
                return arrived
        else:
            upload = read(Upload.of, answer)
            if (upload.size, upload.sha256) != (size, body.sha256):
                raise Damaged(f"{song} arrived as something else.")
            return upload


def _arrived(caller: Caller, filename: str, sha256: str) -> Flow[Upload | None]:
    rows = yield from caller.ask(Call("GET", ("uploads",), params={"limit": str(RECENT)}))
    uploads = read(lambda body: [Upload.of(row) for row in body], rows)
    same = (upload for upload in uploads if (upload.filename, upload.sha256) == (filename, sha256))
    return next(same, None)


def file_name(stem: Stem, suffix: str) -> str:
    """Whatever the service calls a stem: it stays in its folder."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", stem.name) + "." + re.sub(r"[^A-Za-z0-9]", "", suffix)


@dataclass
class _Part:
    """A file on its way to `target`, which is there only when it is whole and right."""

    target: Path
    stem: Stem

    def __post_init__(self) -> None:
        self.path = self.target.with_name(f"{self.target.name}.part")
        self._file: BinaryIO | None = None

    def begin(self) -> None:
        """Go on with what an earlier attempt, of this process or another, left behind."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b")
        self._file.seek(0)
        self._digest = hashlib.sha256()
        while piece := self._file.read(1 << 20):
            self._digest.update(piece)
        self.size = self._file.tell()
        if self.size > self.stem.size or (self.size == self.stem.size and not self.right):
            self.restart()

    def restart(self) -> None:
        assert self._file is not None
        self._file.truncate(0)
        self._file.seek(0)
        self._digest, self.size = hashlib.sha256(), 0

    def add(self, piece: bytes) -> None:
        assert self._file is not None
        self._file.write(piece)
        self._digest.update(piece)
        self.size += len(piece)

    @property
    def right(self) -> bool:
        return self.size == self.stem.size and self._digest.hexdigest() == self.stem.sha256

    def finish(self) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        self.path.replace(self.target)

    def close(self) -> None:
        """What has arrived stays, for the next attempt."""
        if self._file is not None:
            self._file.close()


def fetch_stem(caller: Caller, task_id: str, stem: Stem, target: Path, tell: Listener) -> Flow[None]:
    """Raises Damaged when the file is wrong also the second time, from its beginning."""
    part = _Part(target, stem)
    failures, again = 0, False
    try:
        yield Do(part.begin)
        while not part.right:
            before = part.size
            wait: float | None = 0.0
            try:
                yield from _fetch_more(caller, task_id, part, tell)
            except Unreachable:
                failures = 0 if part.size > before else failures + 1
                wait = caller.patience.wait(max(1, failures))
                if wait is None:
                    raise
            except _Restart:
                pass
            if part.size > stem.size or (part.size == stem.size and not part.right):
                if again:
                    raise Damaged(f"Stem {stem.name} of task {task_id} is not what was announced.")
                again = True
                yield Do(part.restart)
            elif wait:
                yield Sleep(wait)
        yield Do(part.finish)
    finally:
        part.close()


class _Restart(VocalRemoverError):
    pass


def _fetch_more(caller: Caller, task_id: str, part: _Part, tell: Listener) -> Flow[None]:
    headers = {"Accept": "*/*"}
    if part.size:
        # Of another file under the same name, the whole comes instead of the rest.
        headers |= {"Range": f"bytes={part.size}-", "If-Range": f'"{part.stem.sha256}"'}
    call = Call("GET", ("tasks", task_id, "stems", part.stem.name), headers=headers, elsewhere=True)
    try:
        response: httpx.Response = yield from caller.send(call, whole=False)
    except Refused as error:
        if error.status == 416:
            yield Do(part.restart)
            raise _Restart from error
        raise
    rest = f"bytes {part.size}-"
    if part.size and not (response.status_code == 206 and response.headers.get("content-range", "").startswith(rest)):
        yield Do(part.restart)
        if response.status_code != 200:
            yield Close(response)
            return
    try:
        while part.size <= part.stem.size and (piece := (yield Take(response, PIECE))) is not None:
            yield Do(lambda piece=piece: part.add(piece))  # type: ignore[misc]
            tell(Progress("downloading", min(1.0, part.size / part.stem.size), part.stem.name))
    except httpx.TransportError as error:
        yield Close(response)
        raise unreachable(without_query(response.request.url), error) from error
    yield Close(response)
    if part.size < part.stem.size:
        raise Unreachable(f"Stem {part.stem.name} ended early.")

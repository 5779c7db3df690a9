"""Many callers, one network: runs wait their turn, in order, and go together where the device gains by it.

On a CPU a batch takes as long as its items one by one, so `size` is 1 there: songs in work at once then share
the processor patch by patch, instead of each run fighting the others for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from engine.errors import BatcherClosed, EngineError
from engine.runtimes.base import RuntimeInfo, Session, Tensor
from engine.runtimes.onnx import CUDA

Inputs = Mapping[str, Tensor]


def collate(requests: Sequence[Inputs], batch: int) -> Inputs:
    """Inputs (n, ...) of each request → (batch, ...), one request after the other, filled up with zeros."""
    if len(requests) == 1 and _items(requests[0]) == batch:
        return requests[0]
    together: dict[str, Tensor] = {}
    for name, first in requests[0].items():
        together[name] = np.zeros((batch, *first.shape[1:]), np.float32)
        start = 0
        for request in requests:
            values = request[name]
            together[name][start : start + len(values)] = values
            start += len(values)
    return together


def split(outputs: Sequence[Tensor], counts: Sequence[int]) -> list[list[Tensor]]:
    """Outputs (batch, ...) → for each request, in `collate`'s order, its own items: arrays of its own.

    Raises EngineError for an output that does not have the items on its first axis.
    """
    for output in outputs:
        if output.ndim == 0 or len(output) < sum(counts):
            raise EngineError(f"The graph gave the shape {output.shape} for a batch of {sum(counts)}.")
    if len(counts) == 1 and all(len(output) == counts[0] for output in outputs):
        return [list(outputs)]
    ends = np.cumsum(counts)
    return [[output[end - count : end].copy() for output in outputs] for count, end in zip(counts, ends, strict=True)]


@dataclass(slots=True)
class _Request:
    inputs: Inputs
    items: int
    arrived: float
    answer: Future[list[Tensor]] = field(default_factory=Future)

    def fits(self, other: _Request) -> bool:
        """Whether both can go in one batch: they differ in the number of items alone."""
        return {name: values.shape[1:] for name, values in self.inputs.items()} == {
            name: values.shape[1:] for name, values in other.inputs.items()
        }


class MicroBatcher:
    """A Session for many threads around one that is run by one thread, with `size` items at once.

    A batch goes when it is full or when its oldest request has waited for `delay_seconds`. Not more than
    `depth` requests wait; further callers are held back. The oldest request is always in the next batch.

    `shapes` are the batch sizes that are run, the last one `size`; what is missing is filled with zeros. By
    default there is one: kernels are chosen by shape and round differently, and a caller's numbers must not
    depend on who else is there. Give more only for a session that is known to round alike in all of them.
    """

    def __init__(
        self,
        session: Session,
        *,
        size: int = 1,
        delay_seconds: float = 0.0,
        depth: int = 32,
        shapes: Sequence[int] | None = None,
    ) -> None:
        self._shapes = sorted({*(shapes or ()), size})
        if size < 1 or depth < 1 or delay_seconds < 0 or self._shapes[0] < 1 or self._shapes[-1] != size:
            raise ValueError("A batch has one item or more, and no shape beyond its size.")
        self._session = session
        self._size = size
        self._delay = delay_seconds
        self._depth = depth
        self._waiting: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="network", daemon=True)
        self._thread.start()

    @property
    def info(self) -> RuntimeInfo:
        return self._session.info

    def run(self, inputs: Inputs) -> Sequence[Tensor]:
        """Inputs (n, ...), all with the same n, by name → outputs (n, ...).

        Raises BatcherClosed when it was closed before this run's turn, and what the session raises for its
        batch.
        """
        items = _items(inputs)
        parts = [
            self._submit({name: values[start : start + self._size] for name, values in inputs.items()})
            for start in range(0, items, self._size)
        ]
        answers = [part.result() for part in parts]
        if len(answers) == 1:
            return answers[0]
        return [np.concatenate(pieces) for pieces in zip(*answers, strict=True)]

    def close(self) -> None:
        """Fail those who wait, let the batch under way end, then close the session."""
        with self._changed:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for request in left:
            request.answer.set_exception(BatcherClosed("The model was closed before this run's turn."))
        self._thread.join()
        self._session.close()

    def _submit(self, inputs: Inputs) -> Future[list[Tensor]]:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._depth)
            if self._closed:
                raise BatcherClosed("The model was closed before this run's turn.")
            request = _Request(inputs, _items(inputs), time.monotonic())
            self._waiting.append(request)
            self._changed.notify_all()
        return request.answer

    def _serve(self) -> None:
        while batch := self._next():
            try:
                counts = [request.items for request in batch]
                shape = next(shape for shape in self._shapes if shape >= sum(counts))
                outputs = self._session.run(collate([request.inputs for request in batch], shape))
                answers = split(outputs, counts)
            except BaseException as error:
                for request in batch:
                    request.answer.set_exception(error)
            else:
                for request, answer in zip(batch, answers, strict=True):
                    request.answer.set_result(answer)
            del batch  # While nobody asks, nobody's song is kept here.

    def _next(self) -> list[_Request]:
        """The next batch, when its time has come; empty when closed."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return []
                batch = self._together()
                left = self._waiting[0].arrived + self._delay - time.monotonic()
                if left <= 0 or sum(request.items for request in batch) == self._size:
                    break
                self._changed.wait(left)
            chosen = set(map(id, batch))
            self._waiting = deque(request for request in self._waiting if id(request) not in chosen)
            self._changed.notify_all()
            return batch

    def _together(self) -> list[_Request]:
        """The oldest request and those after it that fit in one batch with it, oldest first."""
        batch: list[_Request] = []
        room = self._size
        for request in self._waiting:
            if request.items <= room and request.fits(self._waiting[0]):
                batch.append(request)
                room -= request.items
        return batch


GPU_BATCH = 8
GPU_DELAY_SECONDS = 0.005
"""On a GPU a batch of patches takes little longer than one; not yet measured on one."""


def shared(session: Session) -> Session:
    """A session for many songs at once, as its device wants it; a server's sessions batch over there."""
    size = batch_size(session.info)
    if size is None:
        return session
    return MicroBatcher(session, size=size, delay_seconds=GPU_DELAY_SECONDS if size > 1 else 0.0)


def batch_size(info: RuntimeInfo) -> int | None:
    """How many patches go through the network together; None where a server decides."""
    if info.name == "kserve":
        return None
    return GPU_BATCH if info.device == CUDA else 1


def _items(inputs: Inputs) -> int:
    """How many items a request has. Raises EngineError when its inputs don't agree, or there are none."""
    counts = {values.shape[0] if values.ndim else 0 for values in inputs.values()}
    if len(counts) != 1 or 0 in counts:
        raise EngineError(f"A run takes the same number of items, one or more, for each input, not {sorted(counts)}.")
    return counts.pop()

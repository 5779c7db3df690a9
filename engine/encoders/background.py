"""Encoding in a thread of its own, so that it runs beside the network. The codecs release Python's lock."""

from __future__ import annotations

import threading
from queue import SimpleQueue

from engine.encoders.base import Block, Encoder

WAITING = 2
"""Blocks that may wait for the encoder; more would cost memory and hide no more time."""


class Background:
    """An Encoder whose errors come with a later `write` or with `finish`."""

    def __init__(self, encoder: Encoder, name: str) -> None:
        self._encoder = encoder
        self._blocks: SimpleQueue[Block | None] = SimpleQueue()
        self._room = threading.Semaphore(WAITING)
        self._error: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name=f"encode-{name}", daemon=True)
        self._thread.start()

    def write(self, block: Block) -> None:
        self._room.acquire()
        self._raise()
        self._blocks.put(block)

    def finish(self) -> None:
        self._end()
        self._raise()
        self._encoder.finish()

    def abort(self) -> None:
        self._stopped = True
        self._end()
        self._encoder.abort()

    def _end(self) -> None:
        if self._thread.is_alive():
            self._blocks.put(None)
            self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        # After an error it goes on taking blocks, or the writer would wait for ever.
        while (block := self._blocks.get()) is not None:
            try:
                if self._error is None and not self._stopped:
                    self._encoder.write(block)
            except BaseException as error:
                self._error = error
            finally:
                self._room.release()

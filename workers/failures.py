"""What a worker ran out of, by the error that says so: each has a stable code, and may pass by the next attempt."""

from __future__ import annotations

import errno

from engine.errors import EngineError

Reason = tuple[str, str]
"""(code, sentence)."""

INTERNAL_ERROR: Reason = ("internal_error", "Something went wrong on our side.")
DISK_FULL: Reason = ("storage_full", "There was no room left for the stems.")
OUT_OF_MEMORY: Reason = ("out_of_memory", "The worker ran out of memory.")
OUT_OF_HANDLES: Reason = ("too_many_open_files", "The worker had no file handles or processes left.")

_BY_NUMBER = {
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: DISK_FULL,
    errno.EFBIG: DISK_FULL,  # the operator's limit on the size of a file
    errno.ENOMEM: OUT_OF_MEMORY,
    errno.EMFILE: OUT_OF_HANDLES,
    errno.ENFILE: OUT_OF_HANDLES,
    errno.EAGAIN: OUT_OF_HANDLES,  # no more processes
}
_BY_WORDS = {
    "bad_alloc": OUT_OF_MEMORY,  # the runtimes' own libraries say it in words
    "bad allocation": OUT_OF_MEMORY,
    "failed to allocate": OUT_OF_MEMORY,
    "cannot allocate memory": OUT_OF_MEMORY,
    "can't start new thread": OUT_OF_HANDLES,
    "too many open files": OUT_OF_HANDLES,
    "no space left on device": DISK_FULL,
}


class SongMissing(EngineError):
    """The storage answers, and has no such file. On a disk of many hosts it may only not be seen yet."""

    code = "song_missing"
    advice = "Send the song again, and order its stems anew."
    transient = True


def reason(error: BaseException) -> Reason:
    """Looks through what the error came from: libraries wrap what the system told them."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError):
            return OUT_OF_MEMORY
        if isinstance(seen, OSError) and seen.errno in _BY_NUMBER:
            return _BY_NUMBER[seen.errno]
        words = str(seen).lower()
        for said, found in _BY_WORDS.items():
            if said in words:
                return found
        seen = seen.__cause__ or seen.__context__
    return INTERNAL_ERROR

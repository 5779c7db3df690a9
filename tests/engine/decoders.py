"""The decoders that run now: other children may be servers, which other tests have started."""

from __future__ import annotations

from contextlib import suppress

import psutil

from engine.decoder.process import COMMAND


def children() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if child.cmdline()[: len(COMMAND)] == COMMAND or child.status() == psutil.STATUS_ZOMBIE:
                found.append(child)
    return found

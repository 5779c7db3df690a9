"""Stems that sum to a song although one of them alone would be beyond full scale."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.audio import Samples

LIMIT = np.float32(1 - 2.0**-15)
"""The highest sample that 16 bits hold; all other depths hold it too."""


def share_excess(song: Samples, stems: Mapping[str, Samples]) -> tuple[Mapping[str, Samples], Samples | None]:
    """Make room in `stems` for what their remainder, the last stem, could not hold.

    (frames, channels) each. Where song - Σ stems is beyond full scale, what is beyond it is added to the
    first of `stems` that has room at that moment, else to the next. Returns the stems, and that remainder as
    it was, or None when it needed no room: nearly always, and at once.
    """
    rest = song.copy(order="K")
    for stem in stems.values():
        rest -= np.clip(stem, -LIMIT, LIMIT)
    if rest.max() <= LIMIT and rest.min() >= -LIMIT:
        return stems, None
    excess = rest - np.clip(rest, -LIMIT, LIMIT)
    roomier = {}
    for name, stem in stems.items():
        held = np.clip(stem, -LIMIT, LIMIT)
        filled = np.clip(held + excess, -LIMIT, LIMIT)
        excess -= filled - held
        roomier[name] = np.where(filled == held, stem, filled)
    return roomier, rest

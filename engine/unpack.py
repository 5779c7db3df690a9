"""Unpacks a tar archive without trusting it: plain files only, below the target, few and not too large."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path, PurePosixPath

from engine.errors import WeightsCorrupt

MAX_MEMBERS = 64
MAX_MEMBER_BYTES = 1 << 30
MAX_TOTAL_BYTES = 2 << 30


def unpack(archive: Path, target: Path) -> None:
    """Unpack into the empty folder `target`. Raises WeightsCorrupt at the first member that is not
    a plain file or folder inside it, or when there are too many or too large ones; what was unpacked
    until then stays there for the caller to remove."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            total = 0
            for number, member in enumerate(tar):
                total += member.size
                if number >= MAX_MEMBERS:
                    raise WeightsCorrupt(f"{archive.name} has more than {MAX_MEMBERS} members.")
                if member.size > MAX_MEMBER_BYTES or total > MAX_TOTAL_BYTES:
                    raise WeightsCorrupt(f"{archive.name} unpacks to too much: {member.name!r} is too large.")
                if not (member.isreg() or member.isdir()) or not _inside(member.name):
                    raise WeightsCorrupt(
                        f"{archive.name} holds {member.name!r}, which is not a plain file below its folder."
                    )
                tar.extract(member, target, filter="data")
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise WeightsCorrupt(f"{archive.name} can't be unpacked: {error}.") from error


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and "\0" not in name

"""What a backup's folder holds, said in it: written last, so that a folder without it is none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

MANIFEST = "manifest.json"
LISTED = "files.jsonl"
FILES = "files"
FORMAT = 1


class NoBackup(Exception):
    """Why a folder can't be restored, in a sentence."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of the backup, below `files/`."""

    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    made_at: str
    database: str
    """`sqlite` or `postgresql`."""
    revision: str
    """Of the last migration."""
    rows: dict[str, int]
    """By table."""
    ledger: list[str]
    """What was wrong with it; nothing, when every balance was equal to its entries."""
    files: int
    bytes: int
    lacking: list[str]
    """Keys of rows whose file was missing, or another, in the storage itself."""
    database_sha256: str
    listed_sha256: str


def write(folder: Path, manifest: Manifest) -> None:
    temporary = folder / f"{MANIFEST}.part"
    temporary.write_text(json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1), encoding="utf-8")
    temporary.replace(folder / MANIFEST)


def read(folder: Path) -> Manifest:
    """Raises NoBackup."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise NoBackup(f"{folder} is a backup of another form: restore it with the release that made it.")
        return Manifest(**content)
    except FileNotFoundError:
        raise NoBackup(f"{folder} is no finished backup: it has no {MANIFEST}.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise NoBackup(f"{folder / MANIFEST} can't be read: {error}") from error


def listed(file: Path) -> Iterator[Listed]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield Listed(**json.loads(line))


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

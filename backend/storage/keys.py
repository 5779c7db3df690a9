"""Under which keys songs and results lie: relative POSIX paths that only the server makes.

`uploads/<tenant>/<song>/source` · `output/<song's name>/<task>/<attempt>/vocals.wav` ·
`output/<song's name>/<task>/parts/<fingerprint>/<patch>.f32` · `sample/<file>` · `sending/<tenant>/<person>/<song>` ·
`pledged/<tenant>/<person>/<song>/<bytes>`.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath
from uuid import UUID

LONGEST_NAME = 80
SAMPLES = "sample"
PARTS = "parts"
SENDING = "sending"
PLEDGED = "pledged"
ROOMS = frozenset({"uploads", "output", SENDING, PLEDGED, "leaving", "inventory"})
"""What a key that is ever written begins with: whatever else lies in a bucket is somebody else's."""


def sample_key(filename: str) -> str:
    """Of a song of the sample library: one file for everybody, never removed."""
    return f"{SAMPLES}/{filename}"


def upload_key(tenant_id: UUID, upload_id: UUID) -> str:
    return f"uploads/{tenant_id}/{upload_id}/source"


def sending_key(tenant_id: UUID, user_id: UUID, upload_id: UUID) -> str:
    """Of what a client sends to the storage itself, until it has been looked at."""
    return f"{SENDING}/{tenant_id}/{user_id}/{upload_id}"


def pledged_key(tenant_id: UUID, user_id: UUID, upload_id: UUID) -> str:
    """Of the empty file, named by a number of bytes, that says how many are to be sent."""
    return f"{PLEDGED}/{tenant_id}/{user_id}/{upload_id}"


def output_key(source_name: str, task_id: UUID, attempt: int, file: str) -> str:
    return f"{task_key(source_name, task_id)}/{attempt}/{file}"


def task_key(source_name: str, task_id: UUID) -> str:
    """Of everything that a task has written, in all its attempts."""
    return f"output/{safe_name(source_name)}/{task_id}"


def parts_key(source_name: str, task_id: UUID, fingerprint: str = "", patch: int | None = None) -> str:
    """Of what is kept of a long song's separation while it is under way: all of it, of one kind of worker, a patch."""
    key = f"{task_key(source_name, task_id)}/{PARTS}"
    if fingerprint:
        key = f"{key}/{fingerprint}"
    return key if patch is None else f"{key}/{patch:06d}.f32"


def any_task_key(task_id: UUID) -> str:
    """The same of a task whose song's name is not to be written down; found by looking."""
    return f"output/*/{task_id}"


def safe_name(filename: str) -> str:
    """A song's name as a folder's name: letters, digits, `.`, `-`, `_`, in any script, without its suffix."""
    stem = PurePosixPath(unicodedata.normalize("NFC", filename)).stem
    return re.sub(r"[^\w.-]+", "_", stem).strip("._")[:LONGEST_NAME] or "song"

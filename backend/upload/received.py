"""A file that has arrived, by whichever way."""

from __future__ import annotations

from dataclasses import dataclass

from backend.problem import Problem


class UploadTooLarge(Problem):
    status = 413
    code = "upload_too_large"
    advice = "Send a smaller file, for instance the same song as MP3 or FLAC."


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    filename: str
    size: int
    sha256: str


def too_large(max_bytes: int) -> UploadTooLarge:
    return UploadTooLarge(f"The file is larger than the {max_bytes / 1e6:g} MB that are allowed.")

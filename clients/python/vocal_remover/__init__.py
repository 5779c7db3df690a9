"""Send a song to a Vocal Remover service, get its stems.

from vocal_remover import Client

with Client() as client:
    result = client.separate("song.mp3")
    print(result.stems["vocals"])
"""

from vocal_remover.async_client import AsyncClient
from vocal_remover.client import Client
from vocal_remover.errors import (
    Busy,
    Damaged,
    NotAllowed,
    NotCompleted,
    NotConfigured,
    NotFound,
    OutOfCredits,
    Refused,
    SongChanged,
    TaskCancelled,
    TaskFailed,
    TookTooLong,
    Unreachable,
    Unreadable,
    VocalRemoverError,
)
from vocal_remover.patience import Patience
from vocal_remover.records import Credits, Ordered, Progress, Result, Stem, Task, Upload, Wishes

__all__ = [
    "AsyncClient",
    "Busy",
    "Client",
    "Credits",
    "Damaged",
    "NotAllowed",
    "NotCompleted",
    "NotConfigured",
    "NotFound",
    "Ordered",
    "OutOfCredits",
    "Patience",
    "Progress",
    "Refused",
    "Result",
    "SongChanged",
    "Stem",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TookTooLong",
    "Unreachable",
    "Unreadable",
    "Upload",
    "VocalRemoverError",
    "Wishes",
]

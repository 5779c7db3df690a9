"""Where songs and results lie, addressed by keys that only the server makes."""

from backend.settings import Settings
from backend.storage.base import (
    ABANDONED_SECONDS,
    Part,
    Sending,
    Storage,
    StorageAway,
    StorageFailed,
    StorageRefused,
    Stored,
    WrongSize,
)
from backend.storage.keys import (
    PLEDGED,
    SENDING,
    any_task_key,
    output_key,
    parts_key,
    pledged_key,
    safe_name,
    sample_key,
    sending_key,
    task_key,
    upload_key,
)
from backend.storage.local import LocalStorage

__all__ = [
    "ABANDONED_SECONDS",
    "PLEDGED",
    "SENDING",
    "LocalStorage",
    "Part",
    "Sending",
    "Storage",
    "StorageAway",
    "StorageFailed",
    "StorageRefused",
    "Stored",
    "WrongSize",
    "any_task_key",
    "open_storage",
    "output_key",
    "parts_key",
    "pledged_key",
    "safe_name",
    "sample_key",
    "sending_key",
    "task_key",
    "upload_key",
]


def open_storage(settings: Settings) -> Storage:
    """As the settings say. Nothing is asked yet."""
    local = LocalStorage(settings.data_dir, settings.sample_dir)
    if not settings.storage.url:
        return local
    from backend.storage.s3 import S3Storage  # loads what the embedded mode has no use for

    return S3Storage(settings.storage, local)

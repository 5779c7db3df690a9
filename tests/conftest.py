from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.catalog import Catalog, load_catalog

pytest_plugins = [
    "tests.servers",
    "tests.s3.fixtures",
    "tests.service",
    "tests.processes",
    "tests.mail_server",
    "tests.skips",
]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Data that lies beside the checkout on some machines; VR_SHARED names another place."""
    folder = Path(os.environ.get("VR_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"needs ../shared/data: not at {folder}")
    return folder


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog(ROOT / "assets" / "models.toml")


@pytest.fixture(scope="session")
def example() -> Path:
    """A song of 133 s with singing, stereo mp3, 44.1 kHz."""
    return ROOT / "data" / "sample" / "example.mp3"


@pytest.fixture(scope="session")
def warmup() -> Path:
    """A song of 10.9 s with singing, stereo mp3, 44.1 kHz."""
    return ROOT / "data" / "sample" / "warmup.mp3"

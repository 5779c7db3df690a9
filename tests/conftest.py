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


@pytest.fixture(scope="session")
def long_song(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`example` four times, 9 min, which no worker shares: a fast machine, too, takes a while in its middle.

    What precedes sound in the file (tags of 127 bytes, and a first frame that counts the others) is left out.
    """
    sound = example.read_bytes()[127 + 417 :]
    assert sound[:2] == b"\xff\xfb", "each piece begins with a frame"
    path = tmp_path_factory.mktemp("songs") / "long.mp3"
    path.write_bytes(sound * 4)
    return path

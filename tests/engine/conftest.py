from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.audio import Samples
from engine.audio_io import cool_decoder
from engine.catalog import Catalog
from engine.models.base import Separator
from engine.registry import load_separator
from tests.engine.audio_files import decode_here


@pytest.fixture(scope="session")
def lite(catalog: Catalog) -> Iterator[Separator]:
    separator = load_separator(catalog["lite"], catalog, threads=2, precision="f32")
    yield separator
    separator.close()


@pytest.fixture(scope="session")
def music(warmup: Path) -> Samples:
    """Two seconds of singing, (88200, 2)."""
    return decode_here(warmup)[0][3 * 44100 : 5 * 44100]


@pytest.fixture(autouse=True)
def _no_spare_decoder() -> Iterator[None]:
    """Tests that count child processes must not meet the one that warming up keeps."""
    cool_decoder()
    yield
    cool_decoder()

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backend.matrix.world import World
from tests.payments import PAYMENT
from tests.service import running
from tests.webhooks import QUICK


@pytest.fixture(scope="package")
def world(shared_database_url: str, tmp_path_factory: pytest.TempPathFactory, warmup: Path) -> Iterator[World]:
    """One for the whole matrix: its things are many, and most calls leave them as they are."""
    with running(shared_database_url, tmp_path_factory.mktemp("matrix")) as make:
        service = make(
            credit={"signup_grant": 1_000_000},
            payment=PAYMENT,
            webhook=QUICK | {"max_per_tenant": 1000},
            worker={"heartbeat_seconds": 3600},
        )
        yield World(service, warmup)

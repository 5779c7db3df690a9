from __future__ import annotations

from pathlib import Path

import pytest

from tests.checks.snapshot import snapshots
from tests.checks.source import ROOT, elsewhere, modules, stray_sql, text_of, too_long, tracked

SHIPPED = ("engine", "backend", "workers", "cli")
RULES = "tests/checks/"
"""Says the forbidden words, to forbid them."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_modules_stay_short() -> None:
    assert [line for path in modules() for line in too_long(path.read_text("utf-8"), name(path))] == []


def test_a_long_module_is_found() -> None:
    assert list(too_long("x = 1\n" * 301, "backend/long.py"))


def test_only_repositories_write_sql() -> None:
    shipped = [path for path in modules() if name(path).startswith(SHIPPED)]
    assert len(shipped) > 80, "the check looks in the wrong place"
    assert [line for path in shipped for line in stray_sql(path.read_text("utf-8"), name(path))] == []


@pytest.mark.parametrize(
    "line",
    [
        "from sqlalchemy import select",
        "from sqlalchemy.dialects.postgresql import insert",
        "from sqlalchemy import sql",
        "from sqlalchemy.sql import expression",
        "from sqlalchemy.dialects import postgresql",
        "import sqlalchemy as sa",
        "session.execute(statement)",
        "session.get(Task, task_id)",
        "reading.scalars(statement)",
        "wiring.database.connection().exec_driver_sql('SELECT 1')",
        "from backend.upload import repository",
        "from backend.upload import repository as uploads",
        "from backend.upload.repository import get",
        "from backend.task.lease_repository import claim",
    ],
)
def test_sql_in_another_place_is_found(line: str) -> None:
    assert list(stray_sql(line, "backend/credit/service.py"))


def test_a_repository_may_write_sql_and_its_domain_may_call_it() -> None:
    assert list(stray_sql("from sqlalchemy import select", "backend/task/lease_repository.py")) == []
    assert list(stray_sql("from backend.task import lease_repository", "backend/task/service.py")) == []


def test_models_and_what_opens_the_database_write_no_statements() -> None:
    assert list(stray_sql("from sqlalchemy import Index, text", "backend/models/task.py")) == []
    assert list(stray_sql("from sqlalchemy import create_engine", "backend/db.py")) == []
    for path in ("backend/models/task.py", "backend/db.py", "backend/tenant/scope.py"):
        assert list(stray_sql("from sqlalchemy import select", path))
    assert list(stray_sql("session.scalars(statement)", "backend/models/task.py"))


def test_no_file_names_a_place_of_one_machine() -> None:
    files = [path for path in tracked() if not name(path).startswith(RULES)]
    assert len(files) > 100, "the check looks in the wrong place"
    found = [line for path in files if (text := text_of(path)) is not None for line in elsewhere(text, name(path))]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "open('/home/anna/song.mp3')",
        "cd /root/project",
        "--index-url https://example.org",
        f"https://{'py' + 'pi'}.org/simple",
    ],
)
def test_a_place_of_one_machine_is_found(line: str) -> None:
    assert list(elsewhere(line, "README.md"))


@pytest.mark.parametrize("file", ["docs/openapi.json", "docs/configuration.md"])
def test_what_is_made_from_the_code_is_current(file: str) -> None:
    made = {name(path): text for path, text in snapshots()}
    path = ROOT / file
    current = path.read_text("utf-8") if path.is_file() else ""
    assert current == made[file], f"{file} is not what the code makes: run scripts/snapshot and look at the difference"

"""Who may import whom; and each rule, once broken on purpose in a copy, is seen to be broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("engine", "backend", "workers", "migrations", "cli")

RUNTIMES = {"onnxruntime", "onnx", "openvino", "tensorflow", "spleeter", "torch"}
WEB = {"fastapi", "starlette", "uvicorn", "slowapi"}


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--config", "pyproject.toml"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def loaded(statement: str, wanted: set[str], root: Path = ROOT) -> str:
    """Those of `wanted` that a fresh interpreter has loaded after `statement`."""
    program = f"import sys; sys.path.insert(0, ''); {statement}; print(*sorted({wanted!r} & set(sys.modules)))"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "clients" / "python" / "vocal_remover", tmp_path / "vocal_remover")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    return tmp_path


def seed(root: Path, module: str, line: str) -> None:
    path = root / module
    text = path.read_text("utf-8")
    future = "from __future__ import annotations\n"
    path.write_text(text.replace(future, f"{future}\n{line}\n", 1) if future in text else f"{line}\n{text}", "utf-8")


def test_the_boundaries_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("workers/sweep.py", "import fastapi", "workers import nothing of the web"),
        ("workers/sweep.py", "from backend.errors import describes", "workers import nothing of the web"),
        ("backend/task/lifecycle.py", "from fastapi import Request", "workers import nothing of the web"),
        ("backend/upload/endpoints.py", "from backend.upload import repository", "never repositories"),
        ("backend/upload/repository.py", "from backend.upload import service", "in every domain"),
        ("backend/credit/service.py", "from backend.upload import repository", "one way"),
        ("engine/audio.py", "import backend.settings", "backend > engine"),
        ("backend/queue.py", "import workers.app", "backend > engine"),
        ("backend/app.py", "import cli.logs", "backend > engine"),
        ("vocal_remover/calls.py", "import backend.settings", "by its HTTP only"),
        ("workers/sweep.py", "import vocal_remover", "only the demo"),
        ("engine/audio.py", "import sqlalchemy", "the engine knows no web"),
        ("backend/wiring.py", "import onnxruntime", "the API process runs no network"),
    ],
)
def test_a_broken_boundary_is_seen(copy: Path, module: str, line: str, contract: str) -> None:
    seed(copy, module, line)
    result = lint(copy)
    broken = [text for text in result.stdout.splitlines() if " BROKEN" in text]
    assert result.returncode == 1, result.stdout + result.stderr
    assert any(contract in text for text in broken), result.stdout


def test_a_module_that_has_no_place_in_its_domain_is_seen(copy: Path) -> None:
    (copy / "backend" / "task" / "misplaced.py").write_text("", "utf-8")
    result = lint(copy)
    assert result.returncode == 1
    assert "backend.task.misplaced" in result.stdout


def test_the_api_loads_no_runtime() -> None:
    assert loaded("import backend.app", RUNTIMES) == ""


def test_what_only_some_settings_need_is_loaded_when_they_say_so() -> None:
    optional = {"boto3", "botocore", "opentelemetry.sdk", "celery"}
    assert loaded("import backend.app", optional) == ""
    assert loaded("import workers.app", optional - {"celery"}) == ""


def test_a_runtime_that_the_api_loads_is_seen(copy: Path) -> None:
    """Through the engine, where the contract on imports does not look."""
    seed(copy, "engine/catalog.py", "import onnxruntime")
    assert loaded("import backend.app", RUNTIMES, copy) == "onnxruntime"


def test_workers_load_nothing_of_the_web() -> None:
    assert loaded("import workers.app", WEB) == ""

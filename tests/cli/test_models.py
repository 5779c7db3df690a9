"""`vocal-remover models import`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.engine.checkpoints import write_random_checkpoint
from tests.engine.test_published import published


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["models", *arguments])
    return result.exit_code, result.output


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VR_DATA_DIR", str(tmp_path / "data"))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    code, said = run("import", str(write_random_checkpoint(tmp_path / "weights")))
    assert (code, "not the published weights of spleeter:2stems" in said) == (1, True)
    assert not (tmp_path / "data" / "models" / "2stems").exists()


def test_an_unknown_model_is_said(tmp_path: Path) -> None:
    code, said = run("import", str(tmp_path), "spleeter:3stems")
    assert (code, "There is no model" in said) == (1, True)


def test_the_published_weights_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as repository:
        repository.delenv("VR_DATA_DIR")
        folder = published("spleeter:2stems")
    code, said = run("import", str(folder))
    assert (code, "spleeter:2stems is ready" in said) == (0, True)
    assert (tmp_path / "data" / "models" / "2stems" / "verified.json").exists()

"""The run itself fails in CI when a test is skipped for a reason that is not on the list."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CASES = """
import pytest

def test_that_passes():
    pass

def test_that_is_skipped():
    pytest.skip({reason!r})
"""


@pytest.mark.parametrize(
    ("reason", "environment", "exit_code"),
    [
        ("needs ../shared/data: not here", {"CI": "true"}, 0),
        ("no time today", {"CI": "true"}, 1),
        ("no time today", {}, 0),
    ],
)
def test_an_unknown_reason_fails_the_run_in_ci(
    tmp_path: Path, reason: str, environment: dict[str, str], exit_code: int
) -> None:
    (tmp_path / "test_cases.py").write_text(CASES.format(reason=reason), "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", "utf-8")
    clean = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.skips", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env=clean | environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == exit_code, result.stdout + result.stderr
    assert "1 passed, 1 skipped" in result.stdout
    assert ("allowed_skips.txt does not have" in result.stdout) is bool(exit_code)

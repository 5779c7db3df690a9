"""A test that is skipped proves nothing: in CI every reason must be one of `allowed_skips.txt`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

ALLOWED = Path(__file__).with_name("allowed_skips.txt")


def allowed(text: str) -> list[str]:
    """Beginnings of reasons; lines that begin with # say why a reason is good."""
    return [line for raw in text.splitlines() if (line := raw.strip()) and not line.startswith("#")]


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """`report.longrepr` of a skip is (file, line, "Skipped: reason")."""
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return said.removeprefix("Skipped: ")


class Skips:
    def __init__(self, reasons: Sequence[str]) -> None:
        self._reasons = tuple(reasons)
        self.refused: list[str] = []

    def _look(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = reason_of(report)
            if not reason.startswith(self._reasons):
                self.refused.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._look(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._look(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.refused and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.refused:
            terminalreporter.section("skipped for a reason that tests/allowed_skips.txt does not have", red=True)
            for line in self.refused:
                terminalreporter.line(line)


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI"):
        config.pluginmanager.register(Skips(allowed(ALLOWED.read_text("utf-8"))), "skips")

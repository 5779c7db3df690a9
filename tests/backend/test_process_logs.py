"""What every process writes goes through the redaction, whatever library it comes from."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from backend.settings import Settings
from backend.storage import open_storage
from cli.logs import configure
from tests.servers import empty_settings


def test_every_process_s_log_is_guarded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure(empty_settings(tmp_path, "sqlite://"))
        logging.getLogger("uvicorn.error").info('%s - "GET %s" %d', "1.2.3.4", "/events?ticket=abcdef&x=1", 200)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    line = capsys.readouterr().err
    assert "/events?ticket=[redacted]&x=1" in line and "abcdef" not in line


def test_no_signature_for_the_storage_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Whoever reads it in the log of the library that made it has the link."""
    given = {"url": "s3://bucket", "endpoint": "http://127.0.0.1:1", "access_key": "someone", "secret_key": "of theirs"}
    settings = Settings(_env_file=None, data_dir=tmp_path, storage=given)  # type: ignore[arg-type]
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure(settings)
        root.setLevel(logging.DEBUG)  # as an operator may while it runs
        link = open_storage(settings).link("output/song/1/vocals.wav", "vocals.wav", "audio/wav")
        logging.getLogger("backend").debug("all of it")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    assert link is not None
    [signature] = parse_qs(urlsplit(link).query)["X-Amz-Signature"]
    written = capsys.readouterr().err
    assert "all of it" in written and signature not in written

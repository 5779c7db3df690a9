"""The examples of the client's README run as they are written."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from pathlib import Path

import pytest

from backend.auth.schemas import DEMO
from tests.service import InProcess
from vocal_remover.__main__ import main

README = Path(__file__).resolve().parents[2] / "clients" / "python" / "README.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
SAID = ["song/vocals.wav", "downloading 100%\nstems/vocals.flac\n", "PosixPath('song'), PosixPath('other')"]


@pytest.fixture
def desk(service: InProcess, working: None, warmup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a newcomer tries them."""
    folder = tmp_path / "desk"
    folder.mkdir()
    for name in ("song.mp3", "other.mp3"):
        shutil.copyfile(warmup, folder / name)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VOCAL_REMOVER_URL", service.url)
    for name in ("EMAIL", "PASSWORD"):
        monkeypatch.setenv(f"VOCAL_REMOVER_{name}", DEMO[name.lower()])
    return folder


@pytest.mark.usefixtures("desk")
def test_the_examples() -> None:
    assert len(EXAMPLES) == len(SAID)
    for example, words in zip(EXAMPLES, SAID, strict=True):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(example, str(README), "exec"), {"__name__": "__main__"})
        assert words in said.getvalue()


def test_the_commands(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["separate", "song.mp3", "--into", "stems", "--duration", "2", "--stems", "vocals"]) == 0
    assert capsys.readouterr().out.strip() == "stems/song/vocals.wav"
    assert main(["watch", ".", "out", "--format", "flac", "--duration", "2", "--once", "--every", "0.05"]) == 0
    assert {path.name for path in (desk / "out").glob("*/*")} == {"vocals.flac", "accompaniment.flac"}
    assert main(["credits"]) == 0
    assert capsys.readouterr().out.endswith("7 credits, 0 held\n")
    assert main(["separate", "nowhere.mp3"]) == 1
    assert "nowhere.mp3" in capsys.readouterr().err

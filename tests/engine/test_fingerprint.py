"""What patches have in common that are the same bits."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine import parts
from engine.models.base import Separator
from engine.parts import fingerprint
from engine.registry import load_separator
from engine.runtimes import processor
from engine.runtimes.base import RuntimeInfo
from tests.engine.passing import Passing
from tests.engine.spleeter_cases import CATALOG, ROOT

CHILD = """
from engine.parts import fingerprint
from engine.registry import load_separator
from tests.engine.spleeter_cases import CATALOG
print(fingerprint(load_separator(CATALOG["lite"], CATALOG, threads=2, precision="f32"), "mixture"))
"""
ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm crc32 cpuid asimdhp sve i8mm bf16
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd40

processor\t: 1
CPU implementer\t: 0x99
"""


def test_another_process_finds_the_same(lite: Separator) -> None:
    answer = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, check=True)
    mine = fingerprint(lite, "mixture")
    assert answer.stdout.split() == [mine]
    assert len(mine) == 32 and int(mine, 16)


def test_whatever_decides_the_bits_is_in_it(lite: Separator, monkeypatch: pytest.MonkeyPatch) -> None:
    passing = Passing(CATALOG["lite"], {})
    info = passing.runtime
    found = {fingerprint(lite, "mixture"), fingerprint(lite, "average"), fingerprint(passing, "mixture")}
    other = load_separator(CATALOG["lite"], CATALOG, threads=1, runtime="onnxruntime", precision="f32")
    found.add(fingerprint(other, "mixture"))
    other.close()
    changes: dict[str, object] = {"name": "other", "version": "1", "device": "GPU", "precision": "bf16", "threads": 2}
    for field, value in changes.items():
        changed: RuntimeInfo = replace(info, **{field: value})  # type: ignore[arg-type]  # of the field's own type
        monkeypatch.setattr(passing, "runtime", changed)
        found.add(fingerprint(passing, "mixture"))
    monkeypatch.setattr(passing, "runtime", info)
    monkeypatch.setattr(passing, "spec", CATALOG["spleeter:2stems"])
    found.add(fingerprint(passing, "mixture"))
    monkeypatch.setattr(passing, "weights_sha256", "1")
    found.add(fingerprint(passing, "mixture"))
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0")
    found.add(fingerprint(passing, "mixture"))
    monkeypatch.setattr(parts, "_sources", lambda: "changed")
    found.add(fingerprint(passing, "mixture"))
    monkeypatch.setattr(parts, "identity", lambda device: [device])
    found.add(fingerprint(passing, "mixture"))
    assert len(found) == 4 + len(changes) + 5


def test_the_engines_own_code_is_in_it() -> None:
    folder = Path(parts.__file__).parent
    for pattern in parts.SOURCES:
        assert list(folder.glob(pattern)), pattern


def test_processors_are_told_apart() -> None:
    assert processor._processor(ARM) == [
        "CPU implementer 0x41",
        "CPU part 0xd40",
        "asimd",
        "asimdhp",
        "bf16",
        "i8mm",
        "sve",
    ]
    assert processor._processor("") == []
    assert any(processor.identity("CPU"))

"""Alarms and dashboard speak of figures that there are; and for every alarm people are told what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.service import InProcess

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "vocal-remover.json"


def rules() -> list[dict[str, Any]]:
    document = YAML(typ="safe").load(RULES)
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def exposed(service: InProcess) -> set[str]:
    """Names of series, those of histograms with their endings."""
    names = set()
    service.client.get("/healthz")
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", service.client.get("/metrics").text, re.MULTILINE):
        names |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def test_they_speak_of_what_there_is(service: InProcess) -> None:
    spoken = {name for expression in expressions() for name in re.findall(r"\bvr_\w+", expression)}
    assert len(spoken) > 15
    assert spoken - exposed(service) == set()


def test_each_alarm_is_explained() -> None:
    alarms = [rule["alert"] for rule in rules()]
    assert len(alarms) == len(set(alarms)) > 10
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    explained = re.findall(r"^\| `(\w+)` \|", text[text.index("### Alarms") :], re.MULTILINE)
    assert [alarm for alarm in alarms if alarm not in explained] == []
    for rule in rules():
        assert rule["expr"] and rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"]


def test_prometheus_reads_them() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool")
    subprocess.run([promtool, "check", "rules", str(RULES)], check=True)

"""What is made from the code and checked in: `scripts/snapshot` writes it, a test compares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from backend.app import create_app
from backend.settings import Settings
from cli.configuration import table

ROOT = Path(__file__).resolve().parents[2]


class Defaults(Settings):
    """The settings of a machine on which nothing is set."""

    model_config = {**Settings.model_config, "env_prefix": "NOT_SET_", "env_file": None}


def snapshots() -> Iterator[tuple[Path, str]]:
    document = create_app(Defaults()).openapi()
    yield ROOT / "docs" / "openapi.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    yield ROOT / "docs" / "configuration.md", table() + "\n"


if __name__ == "__main__":
    for path, text in snapshots():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        print(f"wrote {path.relative_to(ROOT)}")

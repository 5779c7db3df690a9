"""Rules about the source that no linter has: who writes SQL, how long a module may be, what a file may name."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("engine", "backend", "workers", "migrations", "cli", "clients", "bench", "training", "tests")
LONGEST_MODULE = 300
SQL = {"select", "update", "delete", "insert", "text", "literal_column", "exists", "union", "union_all"}
SESSION_SQL = {"execute", "scalar", "scalars", "query", "get", "get_one", "merge"}
RUNS_SQL = {"scalars", "get_one", "exec_driver_sql", "bulk_update_mappings", "bulk_save_objects"}
"""What no other thing than a session or connection has, however it is called."""

WRITES_SQL = re.compile(r"backend/\w+/(\w+_)?repository\.py|migrations/.*")
"""Migrations change the rows of every tenant."""

MODEL = re.compile(r"backend/models/\w+\.py")
"""Models write conditions of indexes, as text."""

OPENS_DATABASE = re.compile(r"backend/(db|clock|health|built_once|tenant/scope|backup/database)\.py")
EVERYBODYS = {"sqlalchemy.make_url", "sqlalchemy.orm.Session"}
"""What may be imported from SQLAlchemy anywhere, beside its exceptions: nothing that a statement is made of."""

ELSEWHERE = re.compile(
    # Folders of some machine. The containers' own are in deploy/ and said there once.
    r"(?<![\w.])/(?:work|home|root|Users|opt|mnt)/[\w.-]"
    # A registry's address would decide for everybody where packages come from.
    r"|https?://(?:[\w-]+\.)*(?:py[p]i|python[h]osted|npm[j]s)\.(?:org|com)"
    r"|--(?:extra-)?index-url|--find-links",
)


def tracked(root: Path = ROOT) -> list[Path]:
    """Files that are, or would be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := root / name).is_file()]


def modules(root: Path = ROOT) -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((root / package).rglob("*.py"))


def stray_sql(source: str, path: str) -> Iterator[str]:
    """Only repositories write SQL, and only a domain's own modules call its repository."""
    domain = path.split("/")[1] if path.count("/") > 1 and path.startswith("backend/") else None
    for node in ast.walk(ast.parse(source, path)):
        match node:
            case ast.ImportFrom(module=str(module), names=names):
                for alias in names:
                    name = f"{module}.{alias.name}"
                    if _is_sql(module, alias.name, path):
                        yield f"{path}:{node.lineno}: imports {name}: only repositories write SQL"
                    found = re.match(r"backend\.(\w+)\.(?:\w+_)?repository\b", name)
                    if found and found[1] != domain:
                        yield f"{path}:{node.lineno}: imports {name}: call the service of {found[1]} instead"
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.startswith("sqlalchemy") and not path.startswith("migrations/"):
                        yield f"{path}:{node.lineno}: imports {alias.name} whole: import the names that are used"
            case ast.Call(func=ast.Attribute(value=value, attr=verb)) if not WRITES_SQL.fullmatch(path):
                if verb in RUNS_SQL and path != "backend/db.py":
                    yield f"{path}:{node.lineno}: {verb}: only repositories write SQL"
                elif verb in SESSION_SQL and ast.unparse(value) == "session":
                    yield f"{path}:{node.lineno}: session.{verb}: only repositories write SQL"


def _is_sql(module: str, name: str, path: str) -> bool:
    if not re.match(r"sqlalchemy\b", module) or WRITES_SQL.fullmatch(path):
        return False
    if MODEL.fullmatch(path):
        return name in SQL - {"text"}
    if OPENS_DATABASE.fullmatch(path):
        return name in SQL
    return module != "sqlalchemy.exc" and f"{module}.{name}" not in EVERYBODYS


def too_long(source: str, path: str) -> Iterator[str]:
    lines = source.count("\n")
    if lines > LONGEST_MODULE and not path.startswith("migrations/versions/"):
        yield f"{path}: {lines} lines: split it (the longest may have {LONGEST_MODULE})"


def elsewhere(text: str, path: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        if found := ELSEWHERE.search(line):
            yield f"{path}:{number}: names {found[0]!r}: a place that is not everybody's"


def text_of(path: Path) -> str | None:
    """None for a file that is not text."""
    data = path.read_bytes()
    return None if b"\0" in data[:8192] else data.decode("utf-8", "replace")

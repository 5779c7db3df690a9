"""Finds repository statements that could read or change another tenant's rows.

Reads source, not behaviour: every `select`, `update`, `delete` or `insert` that names a model with a
`tenant_id` must say, in the same expression and as a condition that always holds, whose rows it means:
`in_scope(Model, …)`, `in_tenant(Model, …)` or `Model.tenant_id == …`, for each such model that it names.
A condition added later, or inside `or_`, does not count: on some path it would be missing. Equality with a tenant
of another table counts if that table's rows are told so themselves.
Functions marked `@serves_every_tenant` are left out; the mark says that somebody thought about it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.models import Base

ROOT = Path(__file__).resolve().parents[2]
MARK = "serves_every_tenant"
STATEMENTS = {"select", "update", "delete", "insert"}
RAW = {"text", "literal_column", "exec_driver_sql"}
SESSION_READS = {"get", "get_one", "query", "merge", "bulk_save_objects", "bulk_update_mappings"}
NAMES_MORE = {"join", "outerjoin", "select_from", "join_from", "outerjoin_from", "add_columns", "with_only_columns"}
CONDITIONS = {"where", "filter", "having"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Violation:
    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def tenant_models() -> frozenset[str]:
    """Names of the models that have a `tenant_id` column."""
    return frozenset(
        mapper.class_.__name__ for mapper in Base.registry.mappers if "tenant_id" in mapper.local_table.columns
    )


def repositories(root: Path = ROOT) -> Iterator[Path]:
    yield from sorted((root / "backend").rglob("*repository.py"))


def violations(source: str, path: str, models: Iterable[str]) -> list[Violation]:
    tree = ast.parse(source, path)
    known = _names_of_models(tree, frozenset(models))
    return sorted((Violation(path, line, what) for line, what in _look(tree.body, known)), key=lambda found: found.line)


def _names_of_models(tree: ast.Module, models: frozenset[str]) -> dict[str, str]:
    """What the module calls each model: its own name, `import … as`, `x = Model` and `x = aliased(Model)`."""
    known = {model: model for model in models}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            known |= {alias.asname: alias.name for alias in node.names if alias.asname and alias.name in models}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=function, args=[first, *_])):
                if _last(function) in ("aliased", "alias") and (model := _model(first, known)):
                    known[name] = known[model]
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if model := _model(value, known):
                known[name] = known[model]
    return known


def _look(body: Iterable[ast.AST], known: dict[str, str]) -> Iterator[tuple[int, str]]:
    for node in body:
        if isinstance(node, Function) and any(_last(mark) == MARK for mark in node.decorator_list):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
            for alias in node.names:
                if alias.name in STATEMENTS | RAW and alias.asname not in (None, alias.name):
                    yield node.lineno, f"calls {alias.name} {alias.asname}, by which it is not known here"
        if isinstance(node, ast.Call):
            chain = _chain(node)
            yield from _judge(node, chain, known)
            # The links of a chain were judged with it; what stands in their arguments was not.
            for call in chain:
                yield from _look([*call.args, *call.keywords], known)
            if isinstance(chain[-1].func, ast.Attribute):
                yield from _look([chain[-1].func.value], known)
        else:
            yield from _look(ast.iter_child_nodes(node), known)


def _chain(node: ast.Call) -> list[ast.Call]:
    """`select(A).join(B).where(c)` as its calls, the last first."""
    chain = [node]
    while isinstance(chain[-1].func, ast.Attribute) and isinstance(chain[-1].func.value, ast.Call):
        chain.append(chain[-1].func.value)
    return chain


def _judge(node: ast.Call, chain: list[ast.Call], known: dict[str, str]) -> Iterator[tuple[int, str]]:
    root = chain[-1]
    verb = _last(root.func)
    if any(_last(call.func) in RAW for call in chain):
        yield node.lineno, "raw SQL, which nobody can check for a tenant"
        return
    if verb in SESSION_READS and isinstance(root.func, ast.Attribute):
        for model in _mentioned([*root.args, *root.keywords], known):
            yield node.lineno, f"session.{verb}({model}) reads {known[model]} of any tenant"
        return
    if verb == "insert" and not any(_last(call.func) == "from_select" for call in chain):
        return  # writes a row whose tenant stands in its values
    if verb not in STATEMENTS and not any(_last(call.func) in NAMES_MORE for call in chain):
        return
    # `session.delete(row)` is of a row that was read before.
    unknown = bool(root.args) and all(_is_unknown(argument, known) for argument in root.args)
    if verb in STATEMENTS and unknown and ast.unparse(root.func) != "session.delete":
        yield node.lineno, f"{ast.unparse(root)} does not say of which model"
    correlated = {_model(arg, known) for call in chain if _last(call.func) == "correlate" for arg in call.args}
    touched = {model for call in chain for model in _mentioned([*call.args, *call.keywords], known)}
    if isinstance(root.func, ast.Attribute):
        touched |= set(_mentioned([root.func.value], known))  # Model.__table__.select()
    for model in sorted(touched - correlated - _scoped(chain, known)):
        word = verb if verb in STATEMENTS else "join"
        yield node.lineno, f"{word} names {model} without in_scope or in_tenant"


def _mentioned(nodes: Iterable[ast.AST], known: dict[str, str]) -> Iterator[str]:
    """Models named in an expression, but not those in statements inside it: they are judged by themselves."""
    for node in nodes:
        if isinstance(node, ast.Call) and _last(_chain(node)[-1].func) in STATEMENTS:
            continue
        if model := _model(node, known):
            yield model
        yield from _mentioned(ast.iter_child_nodes(node), known)


def _scoped(chain: list[ast.Call], known: dict[str, str]) -> set[str | None]:
    """Models with a condition on their tenant that always holds, also by equality with such a model."""
    conditions = [
        part for call in chain if _last(call.func) in CONDITIONS for arg in call.args for part in _conjuncts(arg)
    ]
    conditions += [
        part
        for call in chain
        if _last(call.func) in ("join", "outerjoin")
        for arg in call.args[1:]
        for part in _conjuncts(arg)
    ]
    scoped: set[str | None] = set()
    pairs: list[tuple[str, str]] = []
    for condition in conditions:
        match condition:
            case ast.Call(func=function, args=[first, *_]) if _last(function) in ("in_scope", "in_tenant"):
                scoped.add(_model(first, known))
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
                one, other = _tenant_of(left, known), _tenant_of(right, known)
                if one and other:
                    pairs += [(one, other), (other, one)]
                elif _is_value(right if one else left):
                    scoped.add(one or other)
    for _ in pairs:
        scoped |= {other for one, other in pairs if one in scoped}
    return scoped


def _conjuncts(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Call(func=function, args=parts) if _last(function) == "and_":
            for part in parts:
                yield from _conjuncts(part)
        case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
            yield from _conjuncts(left)
            yield from _conjuncts(right)
        case _:
            yield node


def _tenant_of(node: ast.expr, known: dict[str, str]) -> str | None:
    """Of `Model.tenant_id` the model; `Tenant.id` says a tenant too."""
    match node:
        case ast.Attribute(value=ast.Name(id="Tenant"), attr="id"):
            return "Tenant"
        case ast.Attribute(value=value, attr="tenant_id"):
            return _model(value, known)
    return None


def _is_unknown(node: ast.expr, known: dict[str, str]) -> bool:
    """A variable, which may be any model."""
    return isinstance(node, ast.Name) and node.id.islower() and node.id not in known


def _is_value(node: ast.expr) -> bool:
    """Not a column: those of models, and of `x.c`."""
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    columns = any(isinstance(part, ast.Attribute) and part.attr == "c" for part in ast.walk(node))
    return not columns and not any(name[0].isupper() for name in names)


def _model(node: ast.AST, known: dict[str, str]) -> str | None:
    """The name under which the module knows a model: `Task`, an alias, or `models.Task`, however `models` is called."""
    if isinstance(node, ast.Name):
        return node.id if node.id in known else None
    if isinstance(node, ast.Attribute):
        return node.attr if known.get(node.attr) == node.attr else None
    return None


def _last(node: ast.AST) -> str | None:
    """`select` of `select`, `sa.select` and `sa.select(…)`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=function):
            return _last(function)
    return None


def check(root: Path = ROOT) -> list[Violation]:
    models = tenant_models()
    return [
        violation
        for path in repositories(root)
        for violation in violations(path.read_text("utf-8"), str(path.relative_to(root)), models)
    ]


if __name__ == "__main__":
    found = check()
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))

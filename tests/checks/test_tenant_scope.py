"""Nothing in the repositories reads another tenant's rows; and the check that says so sees what it should."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checks.tenant_scope import MARK, ROOT, Function, check, repositories, tenant_models, violations

MODELS = {"Task", "Upload", "Step"}


def found(source: str) -> list[str]:
    return [violation.what for violation in violations(source, "repository.py", MODELS)]


def test_every_statement_of_the_repositories_says_whose_rows() -> None:
    assert len(list(repositories())) > 5, "the check looks in the wrong place"
    assert [str(violation) for violation in check()] == []


def test_the_models_are_those_with_a_tenant() -> None:
    models = tenant_models()
    assert {"Task", "Upload", "Step", "Artifact", "Event", "Account", "Transfer", "Ticket"} <= models
    assert not {"User", "Worker", "Tenant"} & models


@pytest.mark.parametrize(
    "statement",
    [
        "select(Task).where(Task.id == task_id)",
        "sa.select(Task).where(Task.id == task_id)",
        "select(models.Task).where(models.Task.id == task_id)",
        "select(func.count()).select_from(Task)",
        "select(func.count()).where(Task.status == 'queued')",
        "select(Task.id).where(or_(in_scope(Task, scope), Task.id == task_id))",
        "select(Task.id).where(in_scope(Task, scope) | (Task.id == task_id))",
        "select(Task).where(in_scope(Upload, scope))",
        "select(Task, Upload).where(in_scope(Task, scope), Upload.id == Task.upload_id)",
        "select(Task).join(Step, Step.task_id == Task.id).where(in_scope(Task, scope))",
        "select(Task).where(Task.tenant_id == Step.tenant_id)",
        "select(User).where(User.id.in_(select(Task.user_id)))",
        "select(User).join(Task, Task.user_id == User.id)",
        "update(Task).where(Task.id == task_id).values(status='queued')",
        "update(Task).values(status='queued')",
        "delete(Task).where(Task.created_at < old)",
        "insert(Step).from_select(['id'], select(Task.id))",
        "text('SELECT * FROM task')",
        "session.get(Task, task_id)",
        "session.get_one(Task, task_id)",
        "session.query(Task).filter(Task.id == task_id)",
        "session.scalars(select(Task).where(Task.id == task_id)).one_or_none()",
        "session.get(entity=Task, ident=task_id)",
        "session.merge(Task(id=task_id))",
        "session.bulk_update_mappings(Task, rows)",
        "session.execute(Task.__table__.select())",
        "session.connection().exec_driver_sql('SELECT * FROM task')",
        "select(literal_column('* FROM task'))",
        "select(m.Task).where(m.Task.id == task_id)",
        "select(model).where(model.id == task_id)",
        "update(model).values(status='queued')",
        "select(Task).join(Tenant, Tenant.id == Task.tenant_id)",
        "select(Task).join(User, User.id == Task.user_id).where(Task.tenant_id == User.home_id)",
    ],
)
def test_a_statement_without_a_scope_is_found(statement: str) -> None:
    assert found(f"def read(session, scope, task_id):\n    return {statement}\n")


def test_a_statement_built_in_a_helper_variable_is_found() -> None:
    assert found("def read(session, task_id):\n    wanted = select(Task)\n    return session.scalars(wanted)\n")


def test_a_scope_that_is_added_on_one_path_only_does_not_count() -> None:
    source = """
def read(session, scope):
    wanted = select(Task)
    if scope is not None:
        wanted = wanted.where(in_scope(Task, scope))
    return session.scalars(wanted)
"""
    assert found(source)


def test_a_join_that_is_added_later_is_found() -> None:
    source = """
def read(session, scope):
    wanted = select(Task).where(in_scope(Task, scope))
    return wanted.join(Step)
"""
    assert found(source) == ["join names Step without in_scope or in_tenant"]


@pytest.mark.parametrize(
    "head",
    [
        "from backend.models import Task as T",
        "T = aliased(Task)",
        "from backend.models import Task\nT = aliased(Task)",
        "T = Task",
        "T = models.Task",
    ],
)
def test_a_model_under_another_name_is_found(head: str) -> None:
    assert found(f"{head}\ndef read(session):\n    return session.scalars(select(T))\n")


def test_a_verb_under_another_name_is_found() -> None:
    assert found("from sqlalchemy import select as read_all\n")
    assert found("from sqlalchemy import select as select\nfrom sqlalchemy.orm import Session as S\n") == []


def test_methods_and_lambdas_are_looked_into() -> None:
    assert found("class Repository:\n    def read(self, session):\n        return session.scalars(select(Task))\n")
    assert found("read = lambda session: session.scalars(select(Task))\n")


@pytest.mark.parametrize(
    "statement",
    [
        "select(Task).where(in_scope(Task, scope), Task.id == task_id)",
        "select(Task).where(and_(in_scope(Task, scope), Task.id == task_id))",
        "select(Task).where(in_scope(Task, scope) & (Task.id == task_id)).order_by(Task.id)",
        "select(Step).where(in_tenant(Step, tenant_id))",
        "select(Task).where(Task.tenant_id == tenant_id)",
        "select(Task).join(Step, Step.tenant_id == Task.tenant_id).where(in_scope(Task, scope))",
        "update(Task).where(in_scope(Task, scope)).values(attempt=Task.attempt + 1)",
        "select(Task).join(Tenant, Tenant.id == Task.tenant_id).where(Tenant.id == tenant_id)",
        "select(User).where(User.id == task_id)",
        "session.get(User, task_id)",
        "dialect.insert(Task).values(tenant_id=scope.tenant_id)",
        "session.delete(row)",
    ],
)
def test_a_statement_with_a_scope_passes(statement: str) -> None:
    assert found(f"def read(session, scope, task_id, tenant_id):\n    return {statement}\n") == []


def test_the_mark_leaves_out_its_function_and_no_other() -> None:
    source = """
@serves_every_tenant
def claim(session):
    return session.scalars(select(Task))

def read(session):
    return session.scalars(select(Task))
"""
    assert [violation.line for violation in violations(source, "repository.py", MODELS)] == [7]


class _Seed(ast.NodeTransformer):
    """Changes one condition on a tenant, or one function, of those that are not marked."""

    def __init__(self, wanted: int, change: Callable[[ast.AST], ast.AST | None]) -> None:
        self._wanted, self._change, self.seen = wanted, change, 0

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, Function) and any(ast.unparse(mark) == MARK for mark in node.decorator_list):
            return node
        self.generic_visit(node)
        changed = self._change(node)
        if changed is None:
            return node
        self.seen += 1
        return changed if self.seen == self._wanted else node


def _condition(node: ast.AST) -> str | None:
    """The model whose tenant `in_scope(Model, …)` says."""
    match node:
        case ast.Call(func=ast.Name(id="in_scope" | "in_tenant"), args=[ast.Name(id=model), *_]):
            return model
    return None


def _taken_out(node: ast.AST) -> ast.AST | None:
    return _expression("true()") if _condition(node) else None


def _widened(node: ast.AST) -> ast.AST | None:
    model = _condition(node)
    return _expression(f"or_({ast.unparse(node)}, {model}.id == wanted)") if model else None


def _read_without(node: ast.AST) -> ast.AST | None:
    if not isinstance(node, Function):
        return None
    body = [ast.Expr(_expression("session.get(Task, wanted)")), *node.body]
    return type(node)(**{**dict(ast.iter_fields(node)), "body": body})


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


@pytest.mark.parametrize("change", [_taken_out, _widened, _read_without])
@pytest.mark.parametrize("path", list(repositories()), ids=lambda path: str(path.relative_to(ROOT / "backend")))
def test_a_violation_seeded_in_a_repository_is_found(path: Path, change: Callable[[ast.AST], ast.AST | None]) -> None:
    """At every place where it could be, one after the other."""
    source = path.read_text("utf-8")
    models = tenant_models()
    counted, before = _Seed(0, change), violations(source, path.name, models)
    counted.visit(ast.parse(source))
    for place in range(1, counted.seen + 1):
        seeded = ast.unparse(ast.fix_missing_locations(_Seed(place, change).visit(ast.parse(source))))
        assert len(violations(seeded, path.name, models)) > len(before), f"seed {place} is not found"


def test_there_are_places_to_seed() -> None:
    places = 0
    for path in repositories():
        counted = _Seed(0, _taken_out)
        counted.visit(ast.parse(path.read_text("utf-8")))
        places += counted.seen
    assert places > 30

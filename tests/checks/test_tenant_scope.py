"""Nothing in the repositories reads another tenant's rows; and the check that says so sees what it should."""

from __future__ import annotations

import pytest

from tests.checks.tenant_scope import check, repositories, tenant_models, violations

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
    ["from backend.models import Task as T", "T = aliased(Task)", "from backend.models import Task\nT = aliased(Task)"],
)
def test_a_model_under_another_name_is_found(head: str) -> None:
    assert found(f"{head}\ndef read(session):\n    return session.scalars(select(T))\n")


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

"""The whole API against its own document: every route, each field right and wrong, and walks from answer to call.

All of schemathesis' checks are on; `tests/schemathesis.toml` names the refusals that a schema can't tell. Few examples
by default; `scripts/fuzz` asks for more.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis.cli import schemathesis as command
from sqlalchemy.orm import Session

from backend.audit.service import COMMAND
from backend.auth.password import hash_password
from backend.tenant import limits
from backend.tenant import service as tenants
from backend.tenant.limits import Limits
from backend.user import service as users
from tests.service import PASSWORD, InProcess, MakeService, Person

EXAMPLES = int(os.environ.get("VR_FUZZ_EXAMPLES", "3"))
CONFIGURATION = Path(__file__).parent.parent / "schemathesis.toml"
MOST_TRIES = 1_000_000
MOST_CREDITS = 10**9


class Walkers:
    """An operator who can log in, rich enough for any order; the next one when a walk has erased, locked out or
    limited the last."""

    def __init__(self, service: InProcess) -> None:
        self._service = service
        self._hash = hash_password(PASSWORD)
        self._number = 0

    def login(self) -> Person:
        email = f"walker{self._number}@example.com"
        with self._service.wiring.database.write() as session:
            if not self._can_walk(session, email):
                self._number += 1
                email = f"walker{self._number}@example.com"
                user = users.create(session, email, self._hash, granted=MOST_CREDITS)
                users.set_operator(session, COMMAND, user.id, True)
        return self._service.login(email)

    def _can_walk(self, session: Session, email: str) -> bool:
        user = users.by_email(session, email)
        tenant_id = users.home_tenant(session, user.id) if user is not None and user.operator and user.active else None
        if tenant_id is None or tenants.get(session, tenant_id).suspended_at is not None:
            return False
        return limits.get(session, tenant_id) == Limits()


@pytest.mark.timeout(60 + 60 * EXAMPLES)
# Schemathesis' own, and of what it imports; ours are errors still, in the service's threads.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_every_answer_is_as_the_document_says(
    make_service: MakeService, warmup: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = make_service(auth={"lock_after": MOST_TRIES}, worker={"expected": 0})
    walkers = Walkers(service)
    first = walkers.login()
    upload_id = first.upload(warmup)
    first.submit(upload_id)
    service.work()
    first.submit(upload_id)
    monkeypatch.chdir(tmp_path)

    @schemathesis.auth()
    class LoginForEachCase:
        """So that changing the password and logging out everywhere leave nobody outside."""

        def get(self, case: Any, context: Any) -> str:
            return walkers.login().token

        def set(self, case: Any, token: str, context: Any) -> None:
            case.headers["Authorization"] = f"Bearer {token}"

    arguments = ["--config-file", str(CONFIGURATION), "run", f"{service.url}/openapi.json"]
    arguments += ["--max-examples", str(EXAMPLES), "--continue-on-failure", "--no-color"]
    arguments += [] if "VR_FUZZ_EXAMPLES" in os.environ else ["--generation-deterministic"]
    try:
        failed = command.main(arguments, standalone_mode=False)
    except SystemExit as end:
        failed = end.code
    finally:
        schemathesis.auths.unregister()
    sys.stdout.flush()
    assert not failed, "see the report above"

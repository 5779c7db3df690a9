"""A task's way through its states, kept by the database itself on both kinds: triggers refuse every other change.

What may happen is told by whoever creates them (a migration); what the service does is `backend.task.lifecycle`, and
a test walks every way on both databases. They hold what one row can know:

- a task begins queued, with no attempt and at most one event;
- status, attempt, number of events and end change together or not at all: one event for each change of state, one
  attempt for each claim, and nothing any more once it is finished;
- an event has the number and the name of the state in which its task is: together with its key, no gap and no second.

As with the ledger's: a migration that rebuilds `task` or `event` on SQLite must drop them first and create them again.
"""

from __future__ import annotations

from collections.abc import Iterable

from alembic import op

CLAIM = ("queued", "processing")
NO_SUCH_WAY = "a task does not go that way"
NO_SUCH_START = "a task begins queued"
NO_SUCH_EVENT = "an event is of the state that its task is in"

STATE_TRIGGERS = frozenset({"task_way", "task_start", "event_in_order"})
ON_SQLITE = frozenset({"task_no_replace"})


def create_state_triggers(transitions: Iterable[tuple[str, str]]) -> None:
    """`transitions` as (status before, status after); the claim alone has a new attempt."""
    if op.get_bind().dialect.name == "postgresql":
        _create_on_postgresql(_no_way(transitions, "IS NOT DISTINCT FROM"))
    else:
        _create_on_sqlite(_no_way(transitions, "IS"))


def drop_state_triggers() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table, name in (("task", "task_way"), ("task", "task_start"), ("event", "event_in_order")):
            op.execute(f"DROP TRIGGER {name} ON {table}")
        for function in ("task_refuse_way", "task_refuse_start", "event_refuse_order"):
            op.execute(f"DROP FUNCTION {function}()")
    else:
        for name in sorted(STATE_TRIGGERS | ON_SQLITE):
            op.execute(f"DROP TRIGGER {name}")


_WATCHED = "status, attempt, last_event, finished_at"
_WRONG_START = "NEW.status <> 'queued' OR NEW.attempt <> 0 OR NEW.last_event > 1"
_ITS_TASK = "SELECT 1 FROM task WHERE id = NEW.task_id AND last_event = NEW.seq AND status = NEW.kind"


def _no_way(transitions: Iterable[tuple[str, str]], same: str) -> str:
    """SQL: this update is none of the transitions, and does more than leave all as it is."""
    steps = " OR ".join(
        f"(OLD.status = '{before}' AND NEW.status = '{after}'"
        f" AND NEW.attempt = OLD.attempt{' + 1' if (before, after) == CLAIM else ''})"
        for before, after in transitions
    )
    columns = _WATCHED.split(", ")
    stays = " AND ".join(f"NEW.{column} {same} OLD.{column}" for column in columns)
    return f"NOT (({stays}) OR (NEW.last_event = OLD.last_event + 1 AND ({steps})))"


def _create_on_postgresql(no_way: str) -> None:
    def refuse(function: str, sentence: str, condition: str = "TRUE") -> str:
        op.execute(
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {condition} THEN "
            f"RAISE EXCEPTION '{sentence}' USING ERRCODE = 'check_violation'; END IF; RETURN NEW; END $$"
        )
        return f"EXECUTE FUNCTION {function}()"

    way = refuse("task_refuse_way", NO_SUCH_WAY)
    op.execute(f"CREATE TRIGGER task_way BEFORE UPDATE OF {_WATCHED} ON task FOR EACH ROW WHEN ({no_way}) {way}")
    start = refuse("task_refuse_start", NO_SUCH_START)
    op.execute(f"CREATE TRIGGER task_start BEFORE INSERT ON task FOR EACH ROW WHEN ({_WRONG_START}) {start}")
    order = refuse("event_refuse_order", NO_SUCH_EVENT, f"NOT EXISTS ({_ITS_TASK})")
    op.execute(f"CREATE TRIGGER event_in_order BEFORE INSERT ON event FOR EACH ROW {order}")


def _create_on_sqlite(no_way: str) -> None:
    def create(name: str, when: str, condition: str, sentence: str) -> None:
        op.execute(f"CREATE TRIGGER {name} BEFORE {when} WHEN {condition} BEGIN SELECT RAISE(ABORT, '{sentence}'); END")

    create("task_way", f"UPDATE OF {_WATCHED} ON task", no_way, NO_SUCH_WAY)
    create("task_start", "INSERT ON task", _WRONG_START, NO_SUCH_START)
    # INSERT OR REPLACE would take a task away and begin it anew.
    taken = "EXISTS (SELECT 1 FROM task WHERE id = NEW.id OR rowid = NEW.rowid)"
    create("task_no_replace", "INSERT ON task", taken, NO_SUCH_START)
    create("event_in_order", "INSERT ON event", f"NOT EXISTS ({_ITS_TASK})", NO_SUCH_EVENT)

"""What attempts of tasks have left in the storage whose workers never came back to remove it.

A worker removes its own files when its attempt came to nothing, and parts and those of earlier attempts when it
completes. One that is killed in between, or wakes up after its task has ended and dies then, leaves them: the sweep
looks through the tasks that ended lately, of which it could be. What comes later than that finds
`vocal-remover storage check`.
"""

from __future__ import annotations

from backend import storage as keys
from backend.part import service as parts
from backend.task import lease_repository
from backend.wiring import Wiring

LATELY_SECONDS = 2 * 3600.0


def remove(wiring: Wiring) -> None:
    """Safe at any time and on many hosts at once: what a task's row promises stays."""
    with wiring.database.write() as session:
        parts.remove_finished(session)
    with wiring.database.read() as session:
        ended = lease_repository.littered(session, LATELY_SECONDS)
    for task_id, source_name, status, attempt in ended:
        task = keys.task_key(source_name, task_id)
        if status != "completed":
            wiring.storage.delete(task)
            continue
        wiring.storage.delete(keys.parts_key(source_name, task_id))
        for each in wiring.storage.attempts(source_name, task_id):
            if each != attempt:
                wiring.storage.delete(f"{task}/{each}")

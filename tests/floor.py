"""Worker processes on a database and a folder of their own, to be killed and looked at; orders come from here."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select

from backend.models import Part, Worker
from backend.models.task import FINISHED
from tests.processes import Process, environment, wait_until
from tests.service import InProcess, Person, running


class Floor:
    """The service, with workers of one thread each."""

    def __init__(self, service: InProcess, folder: Path) -> None:
        self.service, self.folder = service, folder
        self.workers: dict[str, Process] = {}
        self.written: dict[str, set[int]] = {}
        """When each patch was written, as far as somebody looked."""

    def start(self, name: str, settings: Mapping[str, str], *, wait: bool = True) -> None:
        own = {
            "VR_DB__URL": str(self.service.settings.database_url),
            "VR_ENGINE__THREADS": "1",
            "VR_ENGINE__DEFAULT_MODEL": "lite",
            "VR_WORKER__NAME": name,
            "VR_WORKER__CONCURRENCY": "1",
        }
        env = environment(self.service.settings.data_dir, **(own | dict(settings)))
        self.workers[name] = Process(["worker"], env, self.folder / f"{name}.log")
        if wait:
            self.warm()

    def warm(self) -> None:
        wait_until(lambda: all(self._warm(name) for name in self.workers))

    def stop(self) -> None:
        for worker in self.workers.values():
            if worker.running():
                worker.send(signal.SIGCONT)
                worker.send(signal.SIGTERM)
        for worker in self.workers.values():
            worker.wait()

    def parts(self, task_id: str) -> list[Part]:
        """Those of a song under way; notes when its patches were written: all that the rows count are there by then."""
        with self.service.wiring.database.read() as session:
            rows = session.scalars(select(Part).where(Part.task_id == UUID(task_id)).order_by(Part.position)).all()
        for path in self.service.settings.data_dir.glob(f"output/*/{task_id}/parts/*/*.f32"):
            try:
                self.written.setdefault(path.name, set()).add(path.stat().st_mtime_ns)
            except FileNotFoundError:
                continue
        return list(rows)

    def kept(self, task_id: str) -> int:
        return sum(part.patches_done for part in self.parts(task_id))

    def makers(self, task_id: str) -> set[str]:
        """Who has parts of it just now, by short name."""
        return {str(part.worker).split("@")[0] for part in self.parts(task_id) if part.status == "processing"}

    def finished(self, person: Person, task_id: str, seconds: float = 200) -> None:
        def over() -> bool:
            self.parts(task_id)
            return person.task(task_id)["status"] in FINISHED

        wait_until(over, seconds)
        assert person.task(task_id)["status"] == "completed", person.task(task_id)

    def nothing_left(self, task_id: str) -> bool:
        files = self.service.files("incoming") + list(self.service.settings.data_dir.glob(f"output/*/{task_id}/parts"))
        return not files and not self.parts(task_id)

    def _warm(self, name: str) -> bool:
        assert self.workers[name].running(), self.workers[name].text()[-3000:]
        with self.service.wiring.database.read() as session:
            known = session.scalars(select(Worker).where(Worker.name.startswith(f"{name}@"))).one_or_none()
        return known is not None and known.pid == self.workers[name].pid and known.warm_model is not None


@contextmanager
def opened(template: Path, folder: Path, **changes: Any) -> Iterator[Floor]:
    """`template`: a migrated SQLite database."""
    file = folder / "test.db"
    shutil.copyfile(template, file)
    with running(f"sqlite:///{file}", folder) as make:
        floor = Floor(make(**changes), folder)
        try:
            yield floor
        finally:
            floor.stop()

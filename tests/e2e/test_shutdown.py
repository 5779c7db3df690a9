"""Told to stop, processes end in time and lose nothing: workers, the API, and all of them in turn under load."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Event
from uuid import uuid4

import httpx
import psutil
import pytest

from tests.listening import told
from tests.processes import Cluster, Process, wait_until
from tests.servers import free_port
from tests.service import Person
from workers.stopping import SAME_SECONDS

STOPS_WITHIN_SECONDS = 60
"""Whatever else the machine does; the grace times below are far shorter, or far longer."""
ENDED = (0, -signal.SIGTERM)
"""Of itself; or by the signal, before it has taken anything: it was just warm."""


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    # One thread: a fast machine, too, takes longer for the long song than for hearing a second signal.
    settings = {"VR_ENGINE__THREADS": "1", "VR_WORKER__RENEW_SECONDS": "0.1"}
    with Cluster(tmp_path_factory.mktemp("shutdown"), **settings) as cluster:
        yield cluster
        verified = cluster.command("ledger", "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize(
    ("pool", "grace", "signals"), [("threads", 0.1, 1), ("prefork", 0.1, 1), ("threads", 3600, 2), ("prefork", 3600, 2)]
)
def test_a_worker_hands_its_task_back_and_ends(
    embedded: Cluster, long_song: Path, pool: str, grace: float, signals: int
) -> None:
    """After its grace time; at once when it is told a second time."""
    embedded.processes["worker"].send(signal.SIGTERM)
    assert embedded.processes["worker"].wait(STOPS_WITHIN_SECONDS) in ENDED
    embedded.env |= {"VR_WORKER__POOL": pool, "VR_WORKER__GRACE_SECONDS": str(grace)}
    embedded.start("worker")
    embedded.ready()
    worker = embedded.processes["worker"]
    person = embedded.register(f"{pool}{grace}@example.com")
    task_id = person.submit(person.upload(long_song))
    wait_until(lambda: person.task(task_id)["progress"] > 0.02)
    children = psutil.Process(worker.pid).children(recursive=True)
    assert children
    for number in range(signals):
        time.sleep(number * (SAME_SECONDS + 0.2))
        worker.send(signal.SIGTERM)
    assert worker.wait(STOPS_WITHIN_SECONDS) == 0, worker.text()[-2000:]
    last = person.get(f"/tasks/{task_id}/log").json()[-1]
    assert (last["status"], last["data"]) == ("queued", {"reason": "worker_stopped"})
    assert person.money() == (9, 1)
    wait_until(lambda: not any(child.is_running() for child in children), 10)
    assert [path for path in embedded.data_dir.rglob("*.wav") if task_id in str(path)] == []
    assert list(embedded.data_dir.glob("incoming/*/*")) == []
    assert person.post(f"/tasks/{task_id}/cancel").status_code == 200
    embedded.start("worker")
    embedded.ready()


def test_a_task_has_its_grace_time_whoever_is_told(embedded: Cluster, example: Path) -> None:
    """A service manager may tell every process of the service, and its supervisor hands it on."""
    embedded.processes["worker"].send(signal.SIGTERM)
    assert embedded.processes["worker"].wait(STOPS_WITHIN_SECONDS) in ENDED
    embedded.env |= {"VR_WORKER__POOL": "threads", "VR_WORKER__GRACE_SECONDS": "3600"}
    embedded.start("worker")
    embedded.ready()
    worker = embedded.processes["worker"]
    person = embedded.register("grace@example.com")
    task_id = person.submit(person.upload(example))
    wait_until(lambda: person.task(task_id)["progress"] > 0.02)
    for _ in range(2):
        for child in psutil.Process(worker.pid).children(recursive=True):
            child.terminate()
        worker.send(signal.SIGTERM)
        time.sleep(0.3)
    assert worker.wait(STOPS_WITHIN_SECONDS) == 0, worker.text()[-2000:]
    assert [entry["status"] for entry in person.get(f"/tasks/{task_id}/log").json()][-2:] == ["processing", "completed"]
    embedded.start("worker")
    embedded.ready()


def pause_between_writes(cluster: Cluster, person: Person, song: Path) -> None:
    """A worker that is stopped while it writes would keep SQLite's lock, and nobody else could write."""
    worker = cluster.processes["worker"]

    def paused() -> bool:
        worker.send(signal.SIGSTOP)
        if person.send(song).status_code == 201:
            return True
        worker.send(signal.SIGCONT)
        return False

    wait_until(paused)


def test_an_api_ends_in_the_middle_of_a_stream_and_of_an_upload(embedded: Cluster, warmup: Path) -> None:
    person = embedded.register("api@example.com")
    held = person.submit(person.upload(warmup))
    wait_until(lambda: person.task(held)["status"] == "completed")
    pause_between_writes(embedded, person, warmup)  # a task that stays as it is
    waiting = person.submit(person.upload(warmup))
    begun = Event()

    def endless() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="song.mp3"\r\n\r\n' + b"x" * 2**20
        begun.set()
        while True:
            time.sleep(0.05)
            yield b"x" * 2**10

    def upload() -> int | None:
        headers = person.headers | {"Content-Type": "multipart/form-data; boundary=b"}
        try:
            return httpx.post(
                f"{embedded.url}/api/v1/uploads", content=endless(), headers=headers, timeout=60
            ).status_code
        except httpx.TransportError:
            return None

    def listen() -> list[str]:
        heard: list[str] = []
        try:
            for kind, _, data in told(person, waiting):
                heard.append(str(data["status"]) if kind == "state" else kind)
        except httpx.TransportError:
            heard.append("cut")
        return heard

    songs = len(person.get("/uploads").json())
    with ThreadPoolExecutor(2) as pool:
        sent, heard = pool.submit(upload), pool.submit(listen)
        assert begun.wait(60)
        api = embedded.processes["api"]
        api.send(signal.SIGTERM)
        code = api.wait(STOPS_WITHIN_SECONDS)
        assert code in ENDED, api.text()[-2000:]
        assert heard.result(60)[0] == "queued"
        assert sent.result(60) != 201
    embedded.start("api")
    embedded.processes["worker"].send(signal.SIGCONT)
    embedded.ready()
    assert len(person.get("/uploads").json()) == songs
    assert list(embedded.data_dir.glob("incoming/api/*")) == []
    assert embedded.finished(person, waiting)["status"] == "completed"


class Load:
    """Orders by several people at whichever API answers, each again under its key until it is accepted."""

    def __init__(self, urls: list[str], people: list[Person], song: Path) -> None:
        self._urls, self._over, self._numbers = urls, Event(), count()
        self._pool = ThreadPoolExecutor(len(people))
        uploads = [person.upload(song) for person in people]
        self._working = [
            self._pool.submit(self._order, person, upload) for person, upload in zip(people, uploads, strict=True)
        ]

    def _order(self, person: Person, upload_id: str) -> list[str]:
        accepted: list[str] = []
        while not self._over.is_set() and len(accepted) < 10:
            key = {"Idempotency-Key": str(uuid4())} | person.headers
            while True:
                url = self._urls[next(self._numbers) % len(self._urls)]
                try:
                    answer = httpx.post(
                        f"{url}/api/v1/separate", json={"upload_id": upload_id, "duration": 2}, headers=key, timeout=60
                    )
                except httpx.TransportError:
                    time.sleep(0.1)
                    continue
                assert answer.status_code == 202, answer.text
                accepted.append(answer.json()["task_id"])
                break
            self._over.wait(2)
        return accepted

    def stop(self) -> list[list[str]]:
        """What was accepted, of each person."""
        self._over.set()
        return [working.result(120) for working in self._working]


@pytest.mark.timeout(900)  # it starts eight processes
def test_everything_is_restarted_in_turn_under_load(
    fresh_postgres: str, redis_url: str, tmp_path: Path, warmup: Path
) -> None:
    """Two API processes and two workers: nothing is lost, nothing is done or paid twice."""
    settings = {"VR_DB__URL": fresh_postgres, "VR_QUEUE__URL": redis_url, "VR_QUEUE__NAME": "shutdown"}
    with Cluster(tmp_path, **settings) as cluster:
        second = free_port()

        def start(name: str) -> None:
            kind, _, number = name.partition("-")
            more = {"VR_SERVER__PORT": str(second), "VR_WORKER__NAME": "second"} if number else {}
            cluster.processes[name] = Process([kind], cluster.env | more, tmp_path / f"{name}.log")

        for name in ("api-2", "worker-2"):
            start(name)
        people = [cluster.register(f"load{number}@example.com") for number in range(3)]
        load = Load([cluster.url, f"http://127.0.0.1:{second}"], people, warmup)
        try:
            for name in ("api", "worker", "api-2", "worker-2"):
                cluster.processes[name].send(signal.SIGTERM)
                code = cluster.processes[name].wait(STOPS_WITHIN_SECONDS)
                assert code in ENDED, cluster.processes[name].text()[-2000:]
                start(name)
                cluster.ready()
        finally:
            accepted = load.stop()
        assert all(accepted)
        for person, task_ids in zip(people, accepted, strict=True):
            for task_id in task_ids:
                assert cluster.finished(person, task_id)["status"] == "completed"
                kinds = [entry["status"] for entry in person.get(f"/tasks/{task_id}/log").json()]
                assert kinds.count("completed") == 1 and kinds[-1] == "completed"
            assert {row["task_id"] for row in person.get("/history").json()} == set(task_ids)
            assert person.money() == (10 - len(task_ids), 0)
            assert [kind for kind, _ in person.entries()].count("capture") == len(task_ids)
        assert list(cluster.data_dir.glob("incoming/*/*")) == []
        stems = {(path.parts[-3], path.parts[-2]) for path in cluster.data_dir.glob("output/*/*/*/vocals.wav")}
        assert sorted(task for task, _ in stems) == sorted(task for each in accepted for task in each)
        verified = cluster.command("ledger", "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr

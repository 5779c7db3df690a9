"""What a newcomer does, with real processes: on the embedded defaults, and on PostgreSQL and Redis."""

from __future__ import annotations

import io
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import redis
import soundfile

from tests.engine.audio_files import decode_here
from tests.listening import told
from tests.processes import Cluster, wait_until
from tests.service import PASSWORD, Person
from vocal_remover import Client

LSB = 2.0**-15
PCM_RATE = 44100


@pytest.fixture(scope="module", params=["embedded", "servers"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Shared by the tests of this file; each leaves both processes running."""
    settings = {"VR_WORKER__RENEW_SECONDS": "0.1"}  # whoever acts in the middle of a song must hear of it in time
    if request.param == "servers":
        broker = request.getfixturevalue("redis_url")
        settings |= {
            "VR_DB__URL": request.getfixturevalue("fresh_postgres"),
            "VR_QUEUE__URL": broker,
            "VR_LIMIT__STORAGE": broker,
        }
    with Cluster(tmp_path_factory.mktemp(request.param), **settings) as started:
        yield started
        verified = started.command("ledger", "verify")
        assert verified.returncode == 0, verified.stderr


def separate_and_check(person: Person, song: Path) -> dict[str, Any]:
    """Send, order, listen, download; the stems must be what was promised."""
    with Client(str(person.client.base_url), person.token) as client, TemporaryDirectory() as folder:
        copy = Path(shutil.copyfile(song, Path(folder) / "same name.mp3"))
        result = client.separate(copy)
        stored = {name: path.read_bytes() for name, path in result.stems.items()}
    task_id = result.task.id
    heard = list(told(person, task_id))
    states = [(number, data["status"]) for kind, number, data in heard if kind == "state"]
    assert states == [(1, "queued"), (2, "processing"), (3, "completed")]

    view = person.task(task_id)
    mix, rate = decode_here(song)
    stems = {}
    for stem in view["stems"]:
        answer = person.client.get(stem["url"])
        assert answer.status_code == 200
        assert answer.content == stored[stem["name"]]
        stems[stem["name"]], stem_rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
        assert stem_rate == rate == PCM_RATE
        assert stems[stem["name"]].shape == mix.shape
        assert Path(stem["path"]).read_bytes() == answer.content
    assert set(stems) == {"vocals", "accompaniment"}
    # A song of mp3 may exceed full scale, which 16 bits can't hold: there the stems are clipped.
    clipped = np.maximum(np.abs(stems["vocals"]), np.abs(stems["accompaniment"])) >= 1 - 2 * LSB
    assert clipped.sum() <= 20
    missing = np.where(clipped, 0, stems["vocals"] + stems["accompaniment"] - mix)
    assert np.abs(missing).max() <= 2 * LSB
    assert 20 * np.log10(np.sqrt(np.mean(missing**2))) < -90
    loudness = {name: float(np.sqrt(np.mean(samples**2))) for name, samples in (stems | {"mix": mix}).items()}
    assert loudness["vocals"] > 0.05 * loudness["mix"]
    difference = float(np.sqrt(np.mean((stems["accompaniment"] - mix) ** 2)))
    assert difference > 0.05 * loudness["mix"]
    return view


def test_two_people_at_once_with_the_same_file_name(cluster: Cluster, example: Path, warmup: Path) -> None:
    people = [cluster.login(), cluster.register("second@example.com")]
    with ThreadPoolExecutor(2) as pool:
        views = list(pool.map(separate_and_check, people, (example, warmup)))
    for person, view in zip(people, views, strict=True):
        assert person.money() == (9, 0)
        assert person.entries() == [("grant", 10), ("hold", 1), ("capture", 1)]
        (row,) = person.get("/history").json()
        assert (row["task_id"], row["filename"]) == (view["task_id"], "same name.mp3")
        assert Path(row["vocal_path"]).parent.name == "1"
    assert len({stem["path"] for view in views for stem in view["stems"]}) == 4
    stranger = people[1].get(f"/tasks/{views[0]['task_id']}")
    assert stranger.status_code == 404


def test_the_worker_was_warm_before_its_first_task(cluster: Cluster) -> None:
    log = cluster.processes["worker"].text()
    assert 0 < log.index("model lite is warm on") < log.index(" attempt 1: ")


def test_a_worker_killed_in_the_middle(cluster: Cluster, long_song: Path) -> None:
    person = cluster.register("killed@example.com")
    task_id = person.submit(person.upload(long_song, "long.mp3"))
    wait_until(lambda: person.task(task_id)["progress"] > 0.05)
    cluster.kill("worker")
    assert person.task(task_id)["status"] == "processing"
    cluster.start("worker")
    done = cluster.finished(person, task_id)
    assert (done["status"], done["attempt"]) == ("completed", 2)
    states = [data["status"] for kind, _, data in told(person, task_id) if kind == "state"]
    assert states == ["queued", "processing", "queued", "processing", "completed"]
    assert person.entries() == [("grant", 10), ("hold", 1), ("capture", 1)]
    assert [folder.name for folder in (cluster.data_dir / "output" / "long" / task_id).iterdir()] == ["2"]
    assert list(cluster.data_dir.glob("incoming/*/*")) == []


def test_an_api_killed_after_it_accepted(cluster: Cluster, warmup: Path, tmp_path: Path) -> None:
    """And a client that waits all the while."""
    person = cluster.register("api@example.com")
    with Client(cluster.url, email=person.email, password=PASSWORD) as client, ThreadPoolExecutor(1) as pool:
        task = client.submit(client.upload(warmup))
        waiting = pool.submit(client.wait, task.id)
        cluster.kill("api")
        cluster.start("api")
        cluster.ready()
        files = client.download(waiting.result(), tmp_path)
    assert {name: soundfile.info(path).samplerate for name, path in files.items()} == dict.fromkeys(files, PCM_RATE)
    assert set(files) == {"vocals", "accompaniment"}
    assert person.money() == (9, 0)


def test_a_broker_that_lost_everything(cluster: Cluster, warmup: Path) -> None:
    worker = cluster.processes["worker"]
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0, worker.text()[-2000:]
    assert cluster.client.get("/health").status_code == 503
    person = cluster.register("flush@example.com")
    task_id = person.submit(person.upload(warmup))
    if "VR_QUEUE__URL" in cluster.env:
        with redis.Redis.from_url(cluster.env["VR_QUEUE__URL"]) as broker:
            wait_until(lambda: broker.llen("vocal_remover") > 0)
            broker.flushdb()
    else:
        messages = cluster.data_dir / "queue" / "messages"
        wait_until(lambda: list(messages.iterdir()))
        shutil.rmtree(messages)
        messages.mkdir()
    cluster.start("worker")
    assert cluster.finished(person, task_id)["status"] == "completed"
    cluster.ready()


def test_one_worker_does_two_tasks_at_once(cluster: Cluster, long_song: Path) -> None:
    """By its default settings, and no third; each gets what it would get alone."""
    person = cluster.register("both@example.com")
    upload_id = person.upload(long_song)
    tasks = [person.submit(upload_id, duration=200) for _ in range(3)]
    digests = [[stem["sha256"] for stem in cluster.finished(person, task_id)["stems"]] for task_id in tasks]
    assert digests[0] == digests[1] == digests[2] != []

    def moments(status: str) -> list[datetime]:
        logs = [person.get(f"/tasks/{task_id}/log").json() for task_id in tasks]
        return sorted(datetime.fromisoformat(each["at"]) for log in logs for each in log if each["status"] == status)

    begun, completed = moments("processing"), moments("completed")
    assert len(begun) == len(completed) == 3
    assert begun[1] < completed[0] <= begun[2]


def test_children_separate_as_well_as_threads(tmp_path: Path, warmup: Path) -> None:
    with Cluster(tmp_path, VR_WORKER__POOL="prefork") as forked:
        person = forked.login()
        task_id = person.submit(person.upload(warmup))
        assert forked.finished(person, task_id)["status"] == "completed"
        worker = forked.processes["worker"]
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0, worker.text()[-2000:]

"""One story, told by real processes in every mode: whatever database, broker and storage the settings name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.modes import Mode, chosen, settings
from tests.listening import told
from tests.processes import Cluster, wait_until
from tests.service import Person
from vocal_remover import Client

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(params=chosen(), ids=str)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    mode: Mode = request.param
    with settings(mode, request) as found, Cluster(tmp_path, **found, VR_WORKER__RENEW_SECONDS="0.1") as running:
        yield running
        assert "Traceback" not in running.processes["api"].text()


def test_from_the_first_login_to_an_empty_storage(
    cluster: Cluster, warmup: Path, long_song: Path, tmp_path: Path
) -> None:
    person = cluster.register("singer@example.com")
    person = logged_in(cluster, person.email)
    short, long = (person.send(song, song.name).json()["id"] for song in (warmup, long_song))

    followed = person.submit(short, model="lite")
    heard = list(told(person, followed))
    assert [data["status"] for kind, _, data in heard if kind == "state"] == ["queued", "processing", "completed"]
    check_stems(person, followed)
    with Client(cluster.url, person.token) as client:
        fetched = client.download(followed, tmp_path / "fetched")
        for stem in client.task(followed).stems:
            assert hashlib.sha256(fetched[stem.name].read_bytes()).hexdigest() == stem.sha256

    cancelled = person.submit(long, model="lite")
    at_work(person, cancelled)
    assert person.post(f"/tasks/{cancelled}/cancel").is_success
    assert cluster.finished(person, cancelled)["status"] == "cancelled"

    killed = person.submit(long, model="lite")
    at_work(person, killed)
    cluster.kill("worker")
    waits = person.submit(short, model="lite")
    cluster.start("worker")
    for task_id in (killed, waits):
        assert cluster.finished(person, task_id)["status"] == "completed"
        check_stems(person, task_id)
    assert person.money() == (7, 0)

    assert cluster.command("ledger", "verify").returncode == 0
    looked = cluster.command("storage", "check", "--hash", "--json")
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert sums(looked.stdout)["named"]["number"] == 2 + 3 * 3
    for task_id in (followed, cancelled, killed, waits):
        assert person.delete(f"/tasks/{task_id}").is_success
    for upload_id in (short, long):
        assert person.delete(f"/uploads/{upload_id}").is_success
    assert person.get(f"/tasks/{killed}").status_code == 404
    looked = cluster.command("storage", "check", "--json")
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert {kind for kind, sum_ in sums(looked.stdout).items() if sum_["number"]} == set()
    assert cluster.command("ledger", "verify").returncode == 0


def logged_in(cluster: Cluster, email: str) -> Person:
    from tests.service import PASSWORD

    answer = cluster.client.post("/api/v1/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return Person(cluster.client, email, answer.json()["access_token"])


def at_work(person: Person, task_id: str) -> None:
    """Until its song is being separated."""
    wait_until(lambda: person.task(task_id)["progress"] > 0)
    assert person.task(task_id)["status"] == "processing"


def check_stems(person: Person, task_id: str) -> None:
    """Each as its row says, by the way that clients go: a link, to the API or to the storage itself."""
    stems: list[dict[str, Any]] = person.task(task_id)["stems"]
    assert {stem["name"] for stem in stems} == {"vocals", "accompaniment"}
    for stem in stems:
        url = str(person.client.base_url.join(stem["url"]))
        answer = httpx.get(url, follow_redirects=True, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert hashlib.sha256(answer.content).hexdigest() == stem["sha256"]
        assert len(answer.content) == stem["size"]


def sums(printed: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads(printed.splitlines()[-1])["sums"]
    return found

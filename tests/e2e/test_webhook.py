"""A worker as it runs tells of a task by itself: no process more is needed."""

from __future__ import annotations

from pathlib import Path

from standardwebhooks.webhooks import Webhook as Verifier

from tests.processes import Cluster, wait_until
from tests.receiver import receiver


def test_a_worker_delivers(tmp_path: Path, warmup: Path) -> None:
    settings = {"VR_WEBHOOK__INSECURE": "true", "VR_WEBHOOK__ALLOWED_NETWORKS": "127.0.0.0/8"}
    with receiver() as server, Cluster(tmp_path, **settings) as cluster:
        person = cluster.login()
        made = person.post("/webhooks", {"url": server.url, "events": ["task.completed"]}).json()
        task_id = person.submit(person.upload(warmup))
        wait_until(lambda: server.got)
        [got] = server.got
        message = Verifier(made["secret"]).verify(got.body, dict(got.headers.items()))
        assert (message["type"], message["data"]["task_id"]) == ("task.completed", task_id)
        assert person.task(task_id)["status"] == "completed"
        logs = "".join(process.text() for process in cluster.processes.values())
        assert made["secret"] not in logs

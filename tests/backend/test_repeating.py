"""A failed or cancelled task is repeated once, however many ask at once; on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.colleagues import told
from tests.servers import on_both
from tests.service import InProcess, Person

pytestmark = on_both


def test_once(service: InProcess, demo: Person, warmup: Path) -> None:
    first = demo.submit(demo.upload(warmup))
    demo.post(f"/tasks/{first}/cancel")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: demo.post(f"/tasks/{first}/retry"), range(8)))
    [made] = [answer.json()["task_id"] for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert {told(answer) for answer in refused} == {(409, "task_repeated")}
    assert all(made in answer.json()["detail"] for answer in refused)
    assert demo.money() == (9, 1)
    assert service.work()
    assert told(demo.post(f"/tasks/{first}/retry")) == (409, "task_repeated")
    assert demo.money() == (9, 0)


def test_again_when_the_repeat_came_to_nothing(demo: Person, warmup: Path) -> None:
    first = demo.submit(demo.upload(warmup))
    demo.post(f"/tasks/{first}/cancel")
    second = demo.post(f"/tasks/{first}/retry").json()["task_id"]
    demo.post(f"/tasks/{second}/cancel")
    third = demo.post(f"/tasks/{first}/retry")
    assert third.status_code == 202
    assert demo.task(third.json()["task_id"])["retry_of"] == first
    assert told(demo.post(f"/tasks/{first}/retry")) == (409, "task_repeated")

"""What may be asked for beside the song: checked at the edge, frozen in the task, priced by the part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.servers import on_both
from tests.service import InProcess, MakeService, Person

UNSAID = {
    "stems": ["vocals", "accompaniment"],
    "format": "wav",
    "bit_depth": 16,
    "bit_rate": None,
    "start": 0.0,
    "duration": None,
    "high_frequencies": "mixture",
    "gain_db": 0.0,
}


FROZEN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"format": "flac", "bit_depth": 24}, {"format": "flac", "bit_depth": 24}),
    ({"bit_depth": "float"}, {"bit_depth": "float"}),
    ({"format": "mp3"}, {"format": "mp3", "bit_depth": None, "bit_rate": 256}),
    ({"format": "ogg", "bit_rate": 160}, {"format": "ogg", "bit_depth": None, "bit_rate": 160}),
    ({"stems": 2}, {}),
    ({"stems": ["accompaniment"]}, {"stems": ["accompaniment"]}),
    ({"stems": ["accompaniment", "vocals", "vocals"]}, {}),
    ({"start": 3, "duration": 2.5}, {"start": 3.0, "duration": 2.5}),
    ({"start": 3, "duration": 1000}, {"start": 3.0}),
    ({"high_frequencies": "zeros", "gain_db": -6}, {"high_frequencies": "zeros", "gain_db": -6.0}),
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"format": "wma"}, "format"),
    ({"format": "flac", "bit_depth": "float"}, "bit_depth"),
    ({"bit_depth": 20}, "bit_depth"),
    ({"format": "mp3", "bit_depth": 16}, "bit_depth"),
    ({"format": "mp3", "bit_rate": 7}, "bit_rate"),
    ({"bit_rate": 256}, "bit_rate"),
    ({"stems": 3}, "stems"),
    ({"stems": 4, "model": "lite"}, "stems"),
    ({"stems": ["drums"], "model": "lite"}, "stems"),
    ({"stems": ["kazoo"]}, "stems"),
    ({"start": -1}, "start"),
    ({"start": 11}, "start"),
    ({"start": 1e9}, "start"),
    ({"start": "NaN"}, "start"),
    ({"duration": 0}, "duration"),
    ({"duration": "Infinity"}, "duration"),
    ({"gain_db": 100}, "gain_db"),
    ({"model": "no such model"}, "model"),
]
NO_CHOICE: list[object] = [True, "drums", [], [7], ["x" * 65], ["vocals"] * 17, {"vocals": 1}, 0]


@on_both
def test_options_are_frozen_in_the_task(make_service: MakeService, warmup: Path) -> None:
    person = make_service(credit={"price": 0}).login()
    upload_id = person.upload(warmup)
    for wish, frozen in FROZEN:
        assert person.task(person.submit(upload_id, **wish))["options"] == UNSAID | frozen


def test_what_can_t_be_is_refused_by_its_field(demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    for wish, field in REFUSED:
        for path, body in (("/separate", {"upload_id": upload_id}), ("/tasks", {"upload_ids": [upload_id]})):
            answer = demo.post(path, body | wish)
            assert answer.status_code == 422, answer.text
            problem = answer.json()
            assert problem["advice"] and problem["detail"]
            assert [error["field"] for error in problem["errors"]] == [f"body.{field}"], wish
            assert all(error["message"] and error["kind"] for error in problem["errors"])
    for stems in NO_CHOICE:
        answer = demo.post("/separate", {"upload_id": upload_id, "stems": stems})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert [error["field"] for error in answer.json()["errors"]] == ["body.stems"], stems
    assert demo.money() == (10, 0)
    assert demo.get("/history").json() == []


def test_the_stems_choose_the_model_where_none_is_named(demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    chosen = [
        demo.post("/separate", {"upload_id": upload_id, "stems": stems}).json()["model"]
        for stems in (2, 4, 5, ["vocals"], ["drums", "vocals"], ["piano"])
    ]
    four, five = "spleeter:4stems", "spleeter:5stems"
    assert chosen == ["lite", four, five, "lite", four, five]


def test_what_is_refused_uses_nothing_of_the_allowance(make_service: MakeService, warmup: Path) -> None:
    service = make_service(limit={"separate": "1 per hour"})
    person = service.login()
    upload_id = person.upload(warmup)
    for wish in ({"start": 60}, {"stems": 3}, {"format": "mp3", "bit_depth": 24}):
        assert person.post("/separate", {"upload_id": upload_id, **wish}).status_code == 422
    assert person.post("/separate", {"upload_id": upload_id}).status_code == 202


@on_both
def test_a_part_costs_its_own_seconds(make_service: MakeService, warmup: Path, example: Path) -> None:
    service = make_service(credit={"block_seconds": 60})
    person = service.login()
    songs = [person.upload(example, "long.mp3"), person.upload(warmup)]
    whole, part, rest = (
        person.post("/separate", {"upload_id": songs[0], **wish}).json()
        for wish in ({}, {"start": 10, "duration": 60}, {"start": 70})
    )
    assert [answer["price"] for answer in (whole, part, rest)] == [3, 1, 2]
    assert person.task(part["task_id"])["duration"] == 60
    assert person.task(rest["task_id"])["duration"] == pytest.approx(133 - 70, abs=0.2)
    assert person.money() == (4, 6)

    many = person.post("/tasks", {"upload_ids": songs, "start": 5, "duration": 90})
    assert many.json()["price"] == 2 + 1
    beyond = person.post("/tasks", {"upload_ids": songs, "start": 100})
    assert (beyond.status_code, beyond.json()["code"]) == (422, "part_outside_song")
    assert "song.mp3" in beyond.json()["detail"]
    assert person.money() == (1, 9)


def test_a_task_is_repeated_with_its_options(service: InProcess, demo: Person, warmup: Path) -> None:
    wish = {"stems": ["vocals"], "format": "mp3", "bit_rate": 128, "start": 2, "duration": 4}
    first = demo.submit(demo.upload(warmup), **wish)
    demo.post(f"/tasks/{first}/cancel")
    second = demo.post(f"/tasks/{first}/retry").json()["task_id"]
    assert demo.task(second)["options"] == demo.task(first)["options"]
    assert demo.task(second)["duration"] == 4


@on_both
def test_every_option_is_part_of_what_a_key_stands_for(demo: Person, warmup: Path) -> None:
    body = {"upload_id": demo.upload(warmup)}
    key = {"Idempotency-Key": "one"}
    first = demo.post("/separate", body, headers=key)
    spelt_out = {"format": "wav", "start": 0, "duration": None, "stems": None, "high_frequencies": "mixture"}
    assert demo.post("/separate", body | spelt_out, headers=key).content == first.content
    for other in (
        {"format": "flac"},
        {"bit_depth": 24},
        {"stems": ["vocals"]},
        {"start": 1},
        {"duration": 5},
        {"gain_db": 1},
        {"high_frequencies": "average"},
    ):
        answer = demo.post("/separate", body | other, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(demo.get("/history").json()) == 1

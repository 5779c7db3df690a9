"""The contract that users already have: paths, fields and meanings of the API's first block."""

from __future__ import annotations

from pathlib import Path

import soundfile

from tests.servers import on_both
from tests.service import InProcess, Person


@on_both
def test_what_a_user_does_with_a_song_of_the_library(service: InProcess) -> None:
    client = service.client
    login = client.post("/api/v1/login", json={"email": "test@example.com", "password": "password123"})
    assert login.status_code == 200
    assert set(login.json()) >= {"access_token", "token_type"}
    assert login.json()["token_type"] == "bearer"
    headers = {"Authorization": f"Bearer {login.json()['access_token']}"}

    me = client.get("/api/v1/me", headers=headers).json()
    assert (me["email"], me["credits"], me["held"]) == ("test@example.com", 10, 0)

    accepted = client.post("/api/v1/separate", json={"filename": "warmup.mp3"}, headers=headers)
    assert accepted.status_code == 202
    assert (accepted.json()["model"], accepted.json()["price"]) == ("lite", 1)
    task_id = accepted.json()["task_id"]

    queued = client.get(f"/api/v1/status/{task_id}", headers=headers).json()
    assert (queued["task_id"], queued["status"], queued["queue_position"]) == (task_id, "queued", 0)

    assert service.work() is True
    done = client.get(f"/api/v1/status/{task_id}", headers=headers).json()
    assert (done["task_id"], done["status"], done["progress"]) == (task_id, "completed", 1)
    assert client.get(f"/api/v1/tasks/{task_id}", headers=headers).json()["status"] == "completed"

    (row,) = client.get("/api/v1/history", headers=headers).json()
    assert set(row) >= {"task_id", "status", "original_file_path", "vocal_path", "music_path"}
    assert (row["task_id"], row["status"]) == (task_id, "completed")
    folder = service.settings.data_dir / "output" / "warmup" / task_id / "1"
    assert row["vocal_path"] == str(folder / "vocals.wav")
    assert row["music_path"] == str(folder / "accompaniment.wav")
    assert Path(row["original_file_path"]).read_bytes() == (service.settings.sample_dir / "warmup.mp3").read_bytes()
    for path in (row["vocal_path"], row["music_path"]):
        assert soundfile.info(path).frames == soundfile.info(row["original_file_path"]).frames

    me = client.get("/api/v1/me", headers=headers).json()
    assert (me["credits"], me["held"]) == (9, 0)


def test_an_upload_is_named_by_its_file_name_or_its_id(service: InProcess, demo: Person, warmup: Path) -> None:
    sent = demo.send(warmup, "mine.mp3")
    assert sent.status_code == 201
    upload = sent.json()
    assert upload["filename"] == "mine.mp3"
    assert (upload["rate"], upload["channels"], upload["size"]) == (44100, 2, warmup.stat().st_size)
    assert 10 < upload["duration"] < 12
    assert [row["id"] for row in demo.get("/uploads").json()] == [upload["id"]]

    by_name = demo.post("/separate", {"filename": "mine.mp3"}).json()
    by_id = demo.post("/separate", {"upload_id": upload["id"]}).json()
    assert by_name["task_id"] != by_id["task_id"]
    for answer in (by_name, by_id):
        assert demo.task(answer["task_id"])["upload_id"] == upload["id"]


def test_an_own_song_goes_before_the_library_s(demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup, "example.mp3")
    task_id = demo.post("/separate", {"filename": "example.mp3"}).json()["task_id"]
    assert demo.task(task_id)["upload_id"] == upload_id


def test_many_songs_in_one_request(demo: Person, warmup: Path) -> None:
    songs = [demo.upload(warmup, f"{number}.mp3") for number in range(3)]
    answer = demo.post("/tasks", {"upload_ids": songs})
    assert answer.status_code == 202
    assert [demo.task(task_id)["upload_id"] for task_id in answer.json()["task_ids"]] == songs
    assert answer.json()["price"] == 3
    assert demo.money() == (7, 3)


def test_the_models_say_what_they_are(demo: Person) -> None:
    models = {model["id"]: model for model in demo.get("/models").json()}
    assert {"lite", "spleeter:2stems", "spleeter:4stems", "spleeter:5stems"} <= set(models)
    assert (models["lite"]["ready"], models["lite"]["default"]) == (True, True)
    assert models["lite"]["stems"] == ["vocals", "accompaniment"]
    assert models["spleeter:2stems"]["ready"] is False
    assert "models pull spleeter:2stems" in models["spleeter:2stems"]["how_to_get"]


@on_both
def test_a_new_account(service: InProcess) -> None:
    """Its address is compared without case, its password with."""
    body = {"email": "Singer@Example.com", "password": "a long pass phrase"}
    made = service.client.post("/api/v1/register", json=body)
    assert made.status_code == 201
    again = service.client.post("/api/v1/login", json=body | {"email": "singer@example.com"})
    for answer in (made, again):
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        me = service.client.get("/api/v1/me", headers=headers).json()
        assert (me["email"], me["credits"], me["role"]) == ("singer@example.com", 10, "owner")
    for wrong in ({"password": "short"}, {"email": "nobody"}, {"admin": True}):
        assert service.client.post("/api/v1/register", json=body | wrong).status_code == 422


@on_both
def test_registering_twice(service: InProcess) -> None:
    again = service.client.post("/api/v1/register", json={"email": "TEST@example.com", "password": "password123"})
    assert (again.status_code, again.json()["code"]) == (409, "email_taken")


def test_the_form_login_of_the_docs_page(service: InProcess) -> None:
    answer = service.client.post("/api/v1/token", data={"username": "test@example.com", "password": "password123"})
    assert answer.status_code == 200
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert service.client.get("/api/v1/me", headers=headers).status_code == 200

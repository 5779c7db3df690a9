"""What was asked for is what comes out: formats, parts, chosen stems; and several tasks at once."""

from __future__ import annotations

import io
import logging
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sqlalchemy import update

from backend.models import Step
from engine.audio import Samples
from engine.audio_io import DecodeLimits, decode
from engine.errors import AudioHostile
from engine.separate import separate as engine_separate
from tests.service import InProcess, MakeService, Person

RATE = 44_100


def decoded(path: Path) -> Samples:
    with decode(path, DecodeLimits()) as decoding:
        assert decoding.rate == RATE
        return np.concatenate(list(decoding.blocks()))


@pytest.fixture
def done(service: InProcess, demo: Person, warmup: Path) -> Any:
    """Orders a separation of the warm-up song and does it; the task as it then is."""
    upload_id = demo.upload(warmup, "Đường về.mp3")

    def order(**wish: Any) -> dict[str, Any]:
        task_id = demo.submit(upload_id, **wish)
        assert service.work()
        task = demo.task(task_id)
        assert task["status"] == "completed", task
        return task

    return order


def test_every_format_arrives_as_what_it_is(service: InProcess, demo: Person, done: Any) -> None:
    for container, bit, media_type, magic in (
        ("flac", {"bit_depth": 24}, "audio/flac", b"fLaC"),
        ("mp3", {"bit_rate": 128}, "audio/mpeg", None),
        ("ogg", {"bit_rate": 128}, "audio/ogg", b"OggS"),
        ("m4a", {"bit_rate": 128}, "audio/mp4", None),
    ):
        task = done(format=container, duration=2, **bit)
        assert {stem["media_type"] for stem in task["stems"]} == {media_type}
        assert task["receipt"]["output"] == {
            "container": container,
            "bit_depth": None,
            "bit_rate": None,
            "rate": RATE,
            **bit,
        }
        for stem in task["stems"]:
            path = Path(stem["path"])
            assert path.name == f"{stem['name']}.{container}"
            answer = service.client.get(stem["url"])
            assert answer.headers["content-type"] == media_type
            assert f"{stem['name']}.{container}" in answer.headers["content-disposition"]
            assert answer.content == path.read_bytes()
            assert magic is None or answer.content.startswith(magic)
            # AAC comes in frames of 1024, and how many of the last one count is each decoder's choice.
            assert 0 <= len(decoded(path)) - 2 * RATE <= (1024 if container == "m4a" else 0)
        with zipfile.ZipFile(io.BytesIO(service.client.get(task["archive_url"]).content)) as archive:
            names = {Path(name).name for name in archive.namelist()}
        assert names == {f"vocals.{container}", f"accompaniment.{container}", "receipt.json"}


def test_only_chosen_stems_are_kept(service: InProcess, demo: Person, done: Any) -> None:
    both, one = done(), done(stems=["vocals"])
    (stem,) = one["stems"]
    assert stem["sha256"] == next(stem["sha256"] for stem in both["stems"] if stem["name"] == "vocals")
    assert set(one["receipt"]["stems"]) == {"vocals", "accompaniment"}  # both were made and measured
    kept = [name for name in service.files("output") if one["task_id"] in name]
    assert {Path(name).name for name in kept} == {"vocals.wav", "receipt.json"}
    assert service.events(one["task_id"])[-1].data == {"stems": ["vocals"]}
    assert demo.get(f"/tasks/{one['task_id']}/stems/accompaniment").json()["code"] == "stem_not_found"
    newest = demo.get("/history").json()[0]
    assert (newest["vocal_path"], newest["music_path"]) == (stem["path"], None)

    (rest,) = done(stems=["accompaniment"])["stems"]
    others = [soundfile.read(path)[0] for path in (stem["path"], rest["path"])]
    whole = next(stem["path"] for stem in both["stems"] if stem["name"] == "accompaniment")
    assert np.abs(others[1] - soundfile.read(whole)[0]).max() <= 1 / 2**15  # the unkept one was not rounded
    assert others[0].shape == others[1].shape


def test_a_part_is_cut_to_the_sample(done: Any, warmup: Path) -> None:
    song = decoded(warmup)
    for wish, start, end in (
        ({"start": 2, "duration": 3.5}, 2 * RATE, round(5.5 * RATE)),
        ({"start": 9}, 9 * RATE, len(song)),
        ({"duration": 1.25}, 0, round(1.25 * RATE)),
    ):
        task = done(bit_depth=24, **wish)
        total = sum(soundfile.read(stem["path"], dtype="float32")[0] for stem in task["stems"])
        assert task["receipt"]["frames_out"] == len(total) == end - start
        assert np.abs(total - song[start:end]).max() < 1e-6
        assert task["duration"] == pytest.approx(len(total) / RATE, abs=0.05)


def test_the_gain_is_the_stems(done: Any) -> None:
    plain, softer = (done(bit_depth="float", duration=3, **wish) for wish in ({}, {"gain_db": -20}))
    for one, other in zip(plain["stems"], softer["stems"], strict=True):
        loud, soft = (soundfile.read(stem["path"], dtype="float32")[0] for stem in (one, other))
        assert np.abs(loud).max() > 0.01
        np.testing.assert_allclose(soft, loud / 10, atol=1e-5)


def test_a_step_from_before_there_were_options(service: InProcess, demo: Person, warmup: Path) -> None:
    task_id = demo.submit(demo.upload(warmup))
    with service.wiring.database.write() as session:
        session.execute(update(Step).values(options={"high_frequencies": "average"}))
    assert service.work()
    task = demo.task(task_id)
    assert (task["status"], task["receipt"]["high_frequencies"]) == ("completed", "average")
    assert [stem["media_type"] for stem in task["stems"]] == ["audio/wav"] * 2
    assert (task["options"]["format"], task["options"]["stems"]) == ("wav", ["vocals", "accompaniment"])


def test_tasks_at_once_share_one_model_and_nothing_else(
    service: InProcess, demo: Person, warmup: Path, example: Path, caplog: pytest.LogCaptureFixture
) -> None:
    songs = [demo.upload(warmup), demo.upload(example, "long.mp3")]
    wishes: list[tuple[str, dict[str, Any]]] = [
        (songs[0], {}),
        (songs[1], {"start": 30, "duration": 12}),
        (songs[0], {"format": "flac"}),
    ]
    with caplog.at_level(logging.INFO):
        alone = [demo.submit(song, **wish) for song, wish in wishes]
        while service.work():
            pass
        together = [demo.submit(song, **wish) for song, wish in wishes]
        with ThreadPoolExecutor(3) as pool:
            assert all(pool.map(lambda _: service.work(), together))
    for one, other in zip(alone, together, strict=True):
        digests = [[stem["sha256"] for stem in demo.task(task_id)["stems"]] for task_id in (one, other)]
        assert digests[0] == digests[1] != []
    assert len([record for record in caplog.records if record.getMessage().startswith("loaded lite")]) == 1


def test_one_that_fails_leaves_the_others_alone(
    make_service: MakeService, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(worker={"max_attempts": 1})
    person = service.login()
    good, bad = person.submit(person.upload(warmup)), person.submit(person.upload(warmup), gain_db=-1)

    def separate(*arguments: Any, **more: Any) -> Any:
        if more["gain_db"]:
            raise AudioHostile("The decoder took too long.")
        return engine_separate(*arguments, **more)

    monkeypatch.setattr("workers.separate.separate", separate)
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(lambda _: service.work(), range(2)))
    assert [person.task(task_id)["status"] for task_id in (good, bad)] == ["completed", "failed"]
    assert person.task(bad)["error_code"] == "audio_hostile"
    assert person.money() == (9, 0)

"""`vocal-remover separate`, with the real engine and the embedded model."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.cli.conftest import RATE, MakeSong, Outcome

Separate = Callable[..., Outcome]
STEMS = ["accompaniment.wav", "vocals.wav"]


def files(folder: Path) -> list[str]:
    """Everything below a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_song_becomes_a_folder_of_stems_with_a_receipt(
    separate: Separate, make_song: MakeSong, tmp_path: Path
) -> None:
    song = make_song()
    outcome = separate(song)
    assert outcome.code == 0
    (told,) = outcome.songs
    assert told["status"] == "done" and told["song"] == str(song) and told["folder"] == str(tmp_path / "out" / "song")
    assert told["receipt"]["model"] == "lite" and told["receipt"]["source"]["bytes"] == song.stat().st_size
    assert files(tmp_path / "out") == ["song/accompaniment.wav", "song/receipt.json", "song/vocals.wav"]
    assert told["receipt"]["files"] == {name: (tmp_path / "out/song" / name).stat().st_size for name in STEMS}
    total = sum(soundfile.read(tmp_path / "out/song" / name)[0] for name in STEMS)
    assert np.abs(total - soundfile.read(song)[0]).max() < 2.0**-14
    assert "times real time" in outcome.told


def test_options_reach_the_engine(separate: Separate, make_song: MakeSong, tmp_path: Path) -> None:
    song = make_song()
    part = ("--start", 0.25, "--duration", 0.5, "--gain", -6, "--high-frequencies", "average")
    outcome = separate(song, "--format", "flac", "--bit-depth", 24, *part)
    assert outcome.code == 0
    receipt = outcome.songs[0]["receipt"]
    assert (receipt["gain_db"], receipt["high_frequencies"]) == (-6, "average")
    total = 0
    for stem in ("vocals", "accompaniment"):
        path = tmp_path / "out" / "song" / f"{stem}.flac"
        assert soundfile.info(path).subtype == "PCM_24" and soundfile.info(path).frames == RATE // 2
        total = total + soundfile.read(path)[0]
    wanted = soundfile.read(song)[0][RATE // 4 : 3 * RATE // 4] * 10 ** (-6 / 20)
    assert np.sqrt(np.mean((total - wanted) ** 2)) < 0.1 * np.sqrt(np.mean(wanted**2))


def test_what_is_done_is_skipped(separate: Separate, make_song: MakeSong, tmp_path: Path) -> None:
    song = make_song()
    separate(song)
    before = (tmp_path / "out/song/vocals.wav").stat().st_mtime_ns
    assert separate(song).statuses() == [("song.wav", "skipped")]
    os.utime(song)  # newer, but the same song
    again = separate(song)
    assert again.code == 0 and again.statuses() == [("song.wav", "skipped")] and "done already" in again.told
    moved = song.rename(song.with_name("renamed.wav"))
    (tmp_path / "out" / "song").rename(tmp_path / "out" / "renamed")
    assert separate(moved).statuses() == [("renamed.wav", "skipped")]
    assert (tmp_path / "out/renamed/vocals.wav").stat().st_mtime_ns == before


def test_a_result_that_lost_a_file_is_made_again(separate: Separate, make_song: MakeSong, tmp_path: Path) -> None:
    song = make_song()
    separate(song)
    vocals = tmp_path / "out/song/vocals.wav"
    whole = vocals.read_bytes()
    vocals.unlink()
    assert separate(song).statuses() == [("song.wav", "done")]
    assert vocals.read_bytes() == whole


def test_another_result_is_replaced_only_when_told(separate: Separate, make_song: MakeSong, tmp_path: Path) -> None:
    song = make_song()
    separate(song)
    (tmp_path / "out/song/notes.txt").write_text("mine")
    before = (tmp_path / "out/song/receipt.json").read_bytes()
    refused = separate(song, "--format", "flac")
    assert refused.code == 1 and refused.statuses() == [("song.wav", "result_differs")]
    assert "--overwrite" in refused.songs[0]["error"]["advice"]
    make_song(seed=1)
    assert separate(song).statuses() == [("song.wav", "result_differs")]
    assert (tmp_path / "out/song/receipt.json").read_bytes() == before
    assert separate(song, "--format", "flac", "--overwrite").code == 0
    assert files(tmp_path / "out/song") == ["accompaniment.flac", "notes.txt", "receipt.json", "vocals.flac"]


def test_equal_names_never_share_a_folder(separate: Separate, make_song: MakeSong, tmp_path: Path) -> None:
    songs = [make_song("a/song.wav", seed=1), make_song("b/song.wav", seed=2), make_song("b/song.flac", seed=3)]
    assert separate(*songs).code == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["song", "song-2", "song-3"]
    again = separate(*songs)
    assert [song["status"] for song in again.songs] == ["skipped"] * 3
    assert len({song["folder"] for song in again.songs}) == 3


def test_a_folder_keeps_its_tree_and_stems_are_not_separated_again(
    separate: Separate, make_song: MakeSong, tmp_path: Path
) -> None:
    make_song("a/song.wav", seed=1)
    make_song("b/Song.WAV", seed=2)
    make_song("b/.hidden.wav")
    (tmp_path / "songs/b/cover.txt").write_text("no song")
    assert separate(tmp_path / "songs").statuses() == [("song.wav", "done"), ("Song.WAV", "done")]
    assert (tmp_path / "out/a/song/receipt.json").is_file() and (tmp_path / "out/b/Song/receipt.json").is_file()
    assert [name for name, _ in separate(tmp_path).statuses()] == ["song.wav", "Song.WAV"]


def test_one_bad_song_does_not_stop_the_batch(separate: Separate, make_song: MakeSong, tmp_path: Path) -> None:
    good = make_song("good.wav")
    bad = tmp_path / "songs" / "bad.mp3"
    bad.write_text("not audio at all, whatever its name says")
    outcome = separate(bad, tmp_path / "songs/none.wav", good)
    assert outcome.code == 1
    assert outcome.statuses() == [("", "song_missing"), ("bad.mp3", "audio_undecodable"), ("good.wav", "done")]
    assert all(song["error"]["advice"] for song in outcome.songs if song["status"] == "failed")
    assert "none.wav" in outcome.songs[0]["error"]["detail"] and "1 done, 2 failed" in outcome.told
    assert {Path(name).parts[0] for name in files(tmp_path / "out")} == {"good"}
    assert os.listdir(tmp_path / "out") == ["good"]
    assert separate(good, "--max-seconds", 0.5, "--overwrite").statuses() == [("good.wav", "audio_too_long")]


def test_a_song_that_may_not_be_read_is_no_broken_song(
    separate: Separate, make_song: MakeSong, monkeypatch: pytest.MonkeyPatch
) -> None:
    song, really = make_song(), os.access  # who runs tests as root may read everything
    monkeypatch.setattr(os, "access", lambda path, *rest, **more: path != song and really(path, *rest, **more))
    outcome = separate(song)
    assert outcome.statuses() == [("song.wav", "file_error")]
    error = outcome.songs[0]["error"]
    assert "Permission denied" in error["detail"] and "permissions" in error["advice"]
    assert outcome.told.count(str(song)) == 1


def test_quiet_says_only_what_fails(separate: Separate, make_song: MakeSong) -> None:
    assert separate(make_song(), "--quiet").told == ""
    assert "song_missing" in separate("nothing*.wav", "--quiet").statuses()[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "none"], "unknown_model"),
        (["--format", "mp3", "--bit-depth", "16"], "output_unsupported"),
        (["--format", "flac", "--bit-depth", "float"], "output_unsupported"),
        (["--model", "lite", "--stems", "2"], None),
        (["--duration", "0"], None),
        (["--gain", "nan"], None),
        (["--start", "inf"], None),
        (["--duration", "inf"], None),
        (["--max-seconds", "inf"], None),
        (["--runtime", "spleeter_tf"], None),
        (["--format", "midi"], None),
    ],
)
def test_a_wrong_command_line_exits_2(
    options: list[str], said: str | None, separate: Separate, make_song: MakeSong, tmp_path: Path
) -> None:
    outcome = separate(make_song(), *options)
    assert outcome.code == 2 and outcome.told
    assert [song["error"]["code"] for song in outcome.songs] == ([said] if said else [])
    assert not (tmp_path / "out").exists()


def test_a_model_that_does_not_load_is_said_once(separate: Separate, make_song: MakeSong, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "2stems.tar.gz").write_bytes(b"not the published archive")
    outcome = separate(make_song("a.wav"), make_song("b.wav"), "--stems", 2, "--weights", weights)
    assert outcome.code == 1
    assert [(song["song"], song["error"]["code"]) for song in outcome.songs] == [(None, "weights_corrupt")]
    assert not files(tmp_path / "out")


def test_two_runs_do_not_make_the_same_result(separate: Separate, make_song: MakeSong, tmp_path: Path) -> None:
    song = make_song()
    part = tmp_path / "out" / ".song.part"
    part.mkdir(parents=True)
    (part / "vocals.wav").write_bytes(b"of a run that was killed")
    other = os.open(part, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert separate(song).statuses() == [("song.wav", "result_busy")]
    assert files(part) == ["vocals.wav"]
    os.close(other)
    assert separate(song).statuses() == [("song.wav", "done")]
    assert os.listdir(tmp_path / "out") == ["song"]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_leaves_nothing_half_made_and_goes_on_later(
    sent: signal.Signals, code: int, separate: Separate, make_song: MakeSong, long_song: Path, tmp_path: Path
) -> None:
    song = make_song()
    words = [sys.executable, "-m", "cli", "separate", str(song), str(long_song), "-o", str(tmp_path / "out")]
    run = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out/.long.part/.vocals.wav.part").exists():
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(sent)
    _, told = run.communicate(timeout=30)
    assert run.returncode == code and "Interrupted" in told and "Traceback" not in told
    assert os.listdir(tmp_path / "out") == ["song"]
    assert separate(song).statuses() == [("song.wav", "skipped")]


def test_it_stops_when_nobody_reads_its_lines(make_song: MakeSong, tmp_path: Path) -> None:
    songs = [str(make_song(f"{name}.wav", seed=seed)) for seed, name in enumerate("abc")]
    words = [sys.executable, "-m", "cli", "separate", *songs, "-o", str(tmp_path / "out"), "--model", "lite", "--json"]
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    told = run.stderr
    assert run.returncode == 1 and "Standard output was closed" in told
    assert "✗" not in told and "Traceback" not in told and "ignored" not in told
    assert os.listdir(tmp_path / "out") == ["a"]


def test_it_loads_no_web_and_no_database(make_song: MakeSong, tmp_path: Path) -> None:
    words = ["vocal-remover", "separate", str(make_song()), "-o", str(tmp_path / "out"), "--model", "lite"]
    words += ["--runtime", "onnxruntime", "--precision", "f32", "--threads", "1", "--json"]
    script = f"""
import sys
sys.argv = {words!r}
from cli.main import main
try:
    main()
finally:
    print(sorted({{"fastapi", "starlette", "sqlalchemy", "celery", "backend", "matplotlib"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    told, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    runtime = json.loads(told)["receipt"]["runtime"]
    assert (runtime["name"], runtime["precision"], runtime["threads"]) == ("onnxruntime", "f32", 1)

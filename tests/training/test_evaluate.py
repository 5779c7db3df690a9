from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from engine.audio import Samples
from training import __main__ as command
from training.baselines import METHODS, centre, repet_mask, spectra, waves
from training.clips import RATE, EvaluationClip, find_clips, level_db, where_sung
from training.evaluate import estimates, load_lite, means, score, separated, table, verdict
from training.spectrograms import decibels, write_sheet

ROOT = Path(__file__).resolve().parents[2]


def song(seconds: float = 6.0) -> EvaluationClip:
    """A voice in the middle that rests for two seconds, and wide noise."""
    random, frames = np.random.default_rng(0), int(seconds * RATE)
    time = np.arange(frames) / RATE
    voice = sum((np.sin(2 * np.pi * 220 * n * time + 3 * np.sin(5 * time)) / n for n in range(1, 9)), np.zeros(frames))
    voice[int(2 * RATE) : int(4 * RATE)] = 0
    vocals = np.repeat(0.1 * voice[:, None], 2, 1).astype(np.float32)
    band = random.normal(0, 0.03, (frames, 2)).astype(np.float32)
    band[:, 1] = -band[:, 0]
    sung, unsung = where_sung(vocals)
    return EvaluationClip("a song", "stems", vocals + band, {"vocals": vocals, "accompaniment": band}, sung, unsung)


def test_spectra_come_back_as_waves() -> None:
    samples = song(1.0).mixture
    np.testing.assert_allclose(waves(spectra(samples), len(samples)), samples, atol=1e-6)


def test_the_centre_mask_finds_the_centre() -> None:
    clip = song()
    found = score(clip, "centre", {"vocals": (vocals := centre(clip.mixture)), "accompaniment": clip.mixture - vocals})
    assert found.vocals_sdr > 10
    assert found.fall > 40


def test_repet_takes_what_comes_back_for_accompaniment() -> None:
    random = np.random.default_rng(3)
    beat = random.normal(0, 0.1, (RATE // 2, 2))
    looped = np.tile(beat, (30, 1)).astype(np.float32)
    once = np.zeros_like(looped)
    once[7 * RATE : 8 * RATE] = 0.3 * np.sin(2 * np.pi * 800 * np.arange(RATE) / RATE)[:, None]
    mask = repet_mask(spectra(looped + once))
    tone = round(800 / RATE * 4096)
    during, before = round(7.5 * RATE / 1024) + 4, round(4 * RATE / 1024)
    assert mask[:, during, tone].min() > 0.7
    assert mask[:, before].mean() < 0.4


def test_where_nobody_sings() -> None:
    clip = song()
    assert clip.unsung == ((2.5, 3.0), (3.0, 3.5))
    assert (0.0, 0.5) in clip.sung
    assert level_db(clip.stems["vocals"], clip.unsung) == pytest.approx(-120)
    assert math.isnan(level_db(clip.mixture, ()))


def test_one_table_of_all_methods(lite_graph: Path) -> None:
    clip = song()
    separator = load_lite(lite_graph, threads=1)
    scores = [score(clip, method, stems) for method, stems in estimates(clip, {"lite": separator, "study": separator})]
    separator.close()
    methods = [each.method for each in scores]
    assert methods == ["mixture", "mid/side", *METHODS, "lite", "study", "ideal ratio mask"]
    by_method = {each.method: each for each in scores}
    assert by_method["ideal ratio mask"].vocals_sdr > by_method["REPET-SIM"].vocals_sdr + 6
    assert by_method["mixture"].vocals_sdr == pytest.approx(-by_method["mixture"].accompaniment_sdr, abs=0.01)
    averaged = means(scores)
    assert {each.clip for each in averaged} == {"mean of stems", "mean of all"}
    lines = table([*scores, *averaged]).splitlines()
    assert len(lines) == 2 + len(scores) + len(averaged)
    said = list(verdict(scores, "lite", "study"))
    assert said[0].startswith("vocals SDR over the study's, mean: +0.00 dB")
    assert any("best without weights" in line for line in said)


def test_the_engine_separates_what_is_measured(lite_graph: Path) -> None:
    clip = song(2.0)
    separator = load_lite(lite_graph, threads=1)
    stems = separated(clip.mixture, separator)
    separator.close()
    np.testing.assert_allclose(stems["vocals"] + stems["accompaniment"], clip.mixture, atol=1e-6)


def test_music_alone_falls_below_itself() -> None:
    music: Samples = np.full((RATE, 2), 0.1, np.float32)
    clip = EvaluationClip("music", "instruments", music, {}, (), ((0.0, 1.0),))
    found = score(clip, "lite", {"vocals": 0.01 * music, "accompaniment": 0.99 * music})
    assert found.fall == pytest.approx(40, abs=0.01)
    assert math.isnan(found.vocals_sdr)


def test_recordings_are_found(shared: Path) -> None:
    clips = {clip.name: clip for clip in find_clips(shared / "data")}
    assert {"rubidium_150", "sodium_195", "vocadito_10 + Vibe_Ace"} <= set(clips)
    for clip in clips.values():
        assert clip.mixture.shape[1] == 2
        assert np.abs(clip.mixture).max() <= 1.5
        if clip.stems:
            error = clip.stems["vocals"] + clip.stems["accompaniment"] - clip.mixture
            assert np.abs(error).max() < 2e-4
            assert clip.sung


def test_a_picture_of_a_song(tmp_path: Path) -> None:
    clip = song(2.0)
    assert decibels(clip.mixture).shape == (2 * RATE // 1024 + 1, 2049)
    path = write_sheet(clip, {"vocals": clip.stems["vocals"]}, tmp_path)
    assert path.name == "stems-a_song.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_commands_have_defaults() -> None:
    for name in command.COMMANDS:
        options = command.parser().parse_args([name])
        assert options.command == name
    with pytest.raises(SystemExit, match="no kind nothing"):
        command.main(["pools", "--kinds", "nothing"])
    with pytest.raises(SystemExit, match="no recordings"):
        command.main(["evaluate", "--data", "nowhere"])


@pytest.fixture(scope="module")
def lite_graph() -> Path:
    return ROOT / "assets" / "models" / "lite.onnx"

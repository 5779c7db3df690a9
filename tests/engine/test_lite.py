"""The embedded model against the study that trained it, and against itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import scipy.ndimage
import scipy.signal
from scipy.signal import ShortTimeFFT

from engine.audio import Samples
from engine.catalog import Catalog
from engine.errors import WeightsCorrupt, WeightsUnavailable
from engine.models import lite as lite_model
from engine.models.base import ArraySong, HighFrequencies, Separator
from engine.registry import load_separator
from engine.runtimes.onnx import OnnxRuntime
from tests.engine.audio_files import decode_here

ROOT = Path(__file__).resolve().parents[2]
RATE = 44100


def separated(
    separator: Separator, song: Samples, size: int = 30_000, high: HighFrequencies = "average"
) -> dict[str, Samples]:
    parts = list(separator.stream(ArraySong(song, size), high_frequencies=high))
    return {stem: np.concatenate([part[stem] for part in parts]) for stem in parts[0]}


def likeness(reference: Samples, other: Samples) -> float:
    """dB of the reference over the difference."""
    difference = float(np.sum(np.square(reference - other, dtype=np.float64)))
    return float(10 * np.log10(np.sum(np.square(reference, dtype=np.float64)) / max(difference, 1e-30)))


def in_one_pass(graph: Path, song: Samples) -> dict[str, Samples]:
    """What the model card says, in SciPy's transforms and ONNX Runtime, with all frames at once: no chunks, no
    context, nothing of the engine. The first and the last few frames are left out."""
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    transform = ShortTimeFFT(scipy.signal.windows.hann(4096, sym=False), 1024, fs=RATE)
    spectrum = transform.stft(song.T, padding="even").transpose(0, 2, 1)
    before, frames = -transform.p_min, len(song) // 1024 + 1
    left, right = spectrum[:, before : before + frames, :1024]
    loudness = np.sqrt(np.mean(np.square(song, dtype=np.float64)) * 1536 * 4096 / 2 / 1024)
    sides = np.abs([left, right, (left + right) / 2, (left - right) / 2]) / loudness
    magnitudes = np.pad(sides, ((0, 0), (0, -frames % 64), (0, 0)), mode="symmetric")[None].astype(np.float32)
    demix = session.run(None, {"magnitudes": magnitudes})[0][0, :, :frames]
    middle, side = np.square(sides[2:])
    demix = demix * middle / (middle + sides_in_one_pass(demix, middle, side)[:, None] * side + 1e-12)
    carried = np.repeat(demix[:, :, 880:1010].mean(2, keepdims=True), 2049 - 1024, axis=2)
    (ll, lr, rl, rr), vocals = np.concatenate([demix, carried], axis=2), np.zeros_like(spectrum)
    left, right = spectrum[:, before : before + frames]
    vocals[:, before : before + frames] = ll * left + lr * right, rl * left + rr * right
    sung = np.asarray(transform.istft(vocals.transpose(0, 2, 1), k1=len(song)), np.float32).T
    return {"vocals": sung, "accompaniment": song - sung}


def sides_in_one_pass(demix: Samples, middle: Samples, side: Samples) -> Samples:
    """How much the sides count in each frame: by the sums of energies around it, of every fourth frame."""

    def near(energy: Samples) -> Samples:
        sums = scipy.ndimage.convolve1d(energy[::4].sum(1), np.ones(2 * 24 + 1), mode="constant")
        return np.repeat(sums, 4)[: len(energy)]

    mask = np.square((demix[0] + demix[3]) / 2)
    voice, whole = (np.array([near(gain * energy) for energy in (middle, side)]) for gain in (mask, np.ones_like(mask)))
    wider = voice[1] / voice[0] / np.clip(whole[1] / whole[0], 0.06, 0.5)
    share = voice.sum(0) / whole.sum(0)
    return np.asarray(16 * np.interp(wider, [0.9, 1.3], [1, 0]) * np.interp(share, [0.88, 0.95], [1, 0]), np.float32)


@pytest.mark.parametrize("name", ["warmup", "example"])
def test_chunks_equal_one_pass(name: str, lite: Separator, catalog: Catalog) -> None:
    song = decode_here(ROOT / "data" / "sample" / f"{name}.mp3")[0][: 62 * RATE]
    whole, chunks = in_one_pass(graph_of(catalog), song), separated(lite, song)
    for stem in lite.spec.stems:
        assert likeness(whole[stem][8192:-8192], chunks[stem][8192:-8192]) >= 60


def graph_of(catalog: Catalog) -> Path:
    graph = catalog["lite"].graph
    assert graph is not None
    return catalog.assets / graph


def test_a_steady_tone_has_no_click_at_a_seam(lite: Separator) -> None:
    """What a click would add to the tone's spectrum, away from its harmonics, is no more than anywhere else."""
    seconds = np.arange(3 * lite.patch_samples // 2) / RATE
    tone = sum(np.sin(2 * np.pi * 220 * n * seconds) / n for n in range(1, 9)) * 0.1
    song = np.stack([tone, tone * 0.8], axis=1).astype(np.float32)
    window = np.blackman(8192)
    hertz = np.fft.rfftfreq(len(window), 1 / RATE)
    between = (np.abs((hertz + 110) % 220 - 110) > 60) | (hertz > 2000)

    def noise(samples: Samples, middle: int) -> float:
        part = samples[middle - len(window) // 2 :][: len(window)] * window[:, None]
        return float(np.sum(np.abs(np.fft.rfft(part, axis=0))[between] ** 2))

    for stem in separated(lite, song).values():
        elsewhere = [noise(stem, lite.patch_samples + offset * RATE) for offset in (-8, -5, -2, 2, 5, 8)]
        floor = noise(song, lite.patch_samples)
        assert noise(stem, lite.patch_samples) < 4 * max(floor, *elsewhere)


def test_block_sizes_do_not_matter(lite: Separator, example: Path) -> None:
    song = decode_here(example)[0][: 45 * RATE]
    one, other = separated(lite, song, 22_050), separated(lite, song, 7_777)
    for stem in lite.spec.stems:
        np.testing.assert_array_equal(one[stem], other[stem])


@pytest.mark.parametrize("frames", [1, 2, 100, 2047, 2048, 2049, 5000, 64 * 1024 + 3072])
def test_every_length_keeps_its_length_and_sum(frames: int, lite: Separator, music: Samples) -> None:
    song = np.resize(music, (frames, 2))
    stems = separated(lite, song, 1000)
    for samples in stems.values():
        assert samples.shape == song.shape
        assert np.isfinite(samples).all()
    np.testing.assert_allclose(stems["vocals"] + stems["accompaniment"], song, atol=1e-6)


def singing(warmup: Path) -> Samples:
    return np.asarray(decode_here(warmup)[0][: 8 * RATE].mean(axis=1), np.float32)


def test_a_singer_on_one_side_is_not_lost(lite: Separator, warmup: Path) -> None:
    """A channel may be silent, and old records have the singer in one alone: there is no middle to go by."""
    voice = singing(warmup)
    both = np.stack([voice, voice], axis=1)
    left = np.stack([voice, np.zeros_like(voice)], axis=1)
    kept = [
        float(np.mean(np.square(separated(lite, song)["vocals"].sum(axis=1))))
        for song in (both * np.float32(0.5), left)
    ]
    assert kept[1] > kept[0] / 2


@pytest.mark.parametrize(
    ("voice_width", "band_width", "band_level", "counted"),
    [
        pytest.param(0.01, 0.3, 1.0, 16, id="a singer in the middle of a wide band"),
        pytest.param(0.05, 0.001, 1.0, 16, id="a singer in a room, over a band in mono"),
        pytest.param(0.3, 0.05, 1.0, 0, id="voices spread wider than the band"),
        pytest.param(0.25, 0.3, 0.2, 0, id="a wide voice alone"),
        pytest.param(1.0, 1.0, 1.0, 0, id="one channel is silent"),
    ],
)
def test_sides_count_where_the_voice_is_narrower_than_what_surrounds_it(
    voice_width: float, band_width: float, band_level: float, counted: float
) -> None:
    is_voice = np.arange(1024) % 2 == 0
    random = np.random.default_rng(3)
    middle = random.uniform(0.5, 1.5, (201, 1024)).astype(np.float32) * np.where(is_voice, 1, np.float32(band_level))
    side = middle * np.sqrt(np.where(is_voice, voice_width, band_width)).astype(np.float32)
    demix = np.where(is_voice, 1, 0) * np.array([1, 0, 0, 1])[:, None, None] * np.ones((4, 201, 1024), np.float32)
    sides = lite_model.sides_by_frame(demix, middle, side, 16)
    assert sides.shape == (201, 1)
    np.testing.assert_allclose(sides, counted, atol=1e-3)


def test_a_song_changes_from_one_to_the_other_and_its_silence_is_harmless() -> None:
    half = np.repeat([[0], [1]], 400, axis=0).astype(np.float32)
    voice, band = np.arange(1024) % 2 == 0, np.arange(1024) % 2 == 1
    middle = np.ones((800, 1024), np.float32)
    side = np.sqrt(0.01 + 0.5 * (voice * half + band * (1 - half))).astype(np.float32)
    demix = voice * np.array([1, 0, 0, 1])[:, None, None] * np.ones((4, 800, 1024), np.float32)
    sides = lite_model.sides_by_frame(demix, middle, side, 16)[:, 0]
    assert sides[0] == 16 and sides[-1] == 0
    assert (np.diff(sides) <= 1e-6).all()
    assert np.isfinite(lite_model.sides_by_frame(demix, middle * 0, side * 0, 16)).all()


def test_silence_stays_silent(lite: Separator) -> None:
    for samples in separated(lite, np.zeros((RATE, 2), np.float32)).values():
        assert not samples.any()


def test_loudness_does_not_matter(lite: Separator, music: Samples) -> None:
    loud, soft = separated(lite, music), separated(lite, music * np.float32(0.01))
    for stem in lite.spec.stems:
        assert likeness(loud[stem], soft[stem] * 100) >= 60


def test_zeros_leaves_the_vocals_nothing_above_the_network(lite: Separator, music: Samples) -> None:
    def treble(samples: Samples) -> float:
        spectrum = np.abs(np.fft.rfft(samples[:, 0] * np.hanning(len(samples))))
        return float(np.sum(spectrum[int(11_500 / RATE * len(samples)) :] ** 2))

    without = separated(lite, music, high="zeros")["vocals"]
    carried = separated(lite, music, high="average")["vocals"]
    assert treble(without) < treble(carried) * 1e-3


def test_a_changed_graph_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    spec = catalog["lite"]
    assert spec.graph is not None
    changed = tmp_path / "lite.onnx"
    shutil.copy(catalog.assets / spec.graph, changed)
    with changed.open("r+b") as file:
        file.seek(100_000)
        file.write(b"\xff")
    with pytest.raises(WeightsCorrupt):
        lite_model.load(spec, changed, OnnxRuntime(), threads=1)
    with pytest.raises(WeightsUnavailable):
        load_separator(replace(spec, graph="models/none.onnx"), catalog, threads=1)


def test_importing_the_engine_imports_no_runtime() -> None:
    code = (
        "import sys, engine.separate, engine.registry, engine.models.lite, engine.warmup, engine.runtimes.onnx\n"
        "print([name for name in ('onnxruntime', 'openvino', 'tensorflow', 'spleeter', 'av') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"

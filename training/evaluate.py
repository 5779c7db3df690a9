"""How well `lite` separates, beside everything else: one table that a command prints.

SDR and SI-SDR are `bench.quality`'s: over both channels and the whole clip, in dB. `fall` is how much softer the
vocals stem is where nobody sings than where somebody does; for music without singing, how far it is below the music.
Every network runs as an ONNX graph in the product's own engine, so what is measured is what ships.
"""

from __future__ import annotations

import hashlib
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from bench.quality import ROOT, STEMS, oracle_mask, sdr, si_sdr
from engine.audio import Samples
from engine.audio_io import DecodeLimits
from engine.catalog import load_catalog
from engine.formats import make_format
from engine.models import lite
from engine.models.base import Separator
from engine.runtimes.base import Precision
from engine.runtimes.choose import choose
from engine.separate import separate
from engine.sink import DirectorySink
from training.baselines import CENTRE, METHODS
from training.clips import RATE, EvaluationClip, level_db

CATALOGUE = ROOT / "assets" / "models.toml"
CHECKPOINTS = {".pt", ".pth"}


@dataclass(frozen=True, slots=True)
class Score:
    clip: str
    group: str
    method: str
    vocals_sdr: float
    vocals_si_sdr: float
    accompaniment_sdr: float
    accompaniment_si_sdr: float
    fall: float
    """dB; not a number where there is no passage without singing."""


def load_lite(path: Path, precision: Precision = "f32", threads: int = 2, centre: float | None = None) -> Separator:
    """A graph, or a checkpoint by way of a graph that is thrown away, run by the engine. `centre`: in place of the
    catalogue's."""
    if path.suffix in CHECKPOINTS:
        from training.export import export  # graphs are measured where torch is not installed

        with tempfile.TemporaryDirectory() as folder:
            graph = Path(folder) / "graph.onnx"
            export(path, graph)
            return load_lite(graph, precision, threads, centre)
    spec = load_catalog(CATALOGUE)["lite"]
    spec = replace(
        spec,
        graph=str(path),
        graph_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        centre=spec.centre if centre is None else centre,
    )
    return lite.load(spec, path, choose("auto"), threads=threads, precision=precision)


def separated(mixture: Samples, separator: Separator) -> dict[str, Samples]:
    """Vocals and accompaniment of (frames, 2) by `engine.separate`, in floating point."""
    with tempfile.TemporaryDirectory() as temporary:
        song, folder = Path(temporary) / "song.wav", Path(temporary) / "stems"
        folder.mkdir()
        soundfile.write(song, mixture, RATE, subtype="FLOAT")
        sink = DirectorySink(folder, make_format("wav", "float"))
        separate(song, separator, sink, limits=DecodeLimits())
        return {stem: soundfile.read(sink.path(stem), dtype="float32", always_2d=True)[0] for stem in STEMS}


def estimates(clip: EvaluationClip, separators: Mapping[str, Separator]) -> Iterator[tuple[str, dict[str, Samples]]]:
    """(method, stems) of every method that this clip allows."""
    mixture = clip.mixture
    middle = np.repeat(mixture.mean(1, keepdims=True), 2, 1)
    yield "mixture", {"vocals": mixture, "accompaniment": mixture}
    yield "mid/side", {"vocals": middle, "accompaniment": mixture - middle}
    for name, method in METHODS.items():
        if not clip.stems and name != CENTRE:
            continue  # minutes for each, and only a fall to show for it
        vocals = method(mixture)
        yield name, {"vocals": vocals, "accompaniment": mixture - vocals}
    for name, separator in separators.items():
        yield name, separated(mixture, separator)
    if clip.stems:
        yield "ideal ratio mask", oracle_mask(clip.stems, mixture)


def score(clip: EvaluationClip, method: str, stems: Mapping[str, Samples]) -> Score:
    sdrs, si_sdrs = dict.fromkeys(STEMS, math.nan), dict.fromkeys(STEMS, math.nan)
    for stem, truth in clip.stems.items():
        sdrs[stem], si_sdrs[stem] = sdr(truth, stems[stem]), si_sdr(truth, stems[stem])
    vocals = stems["vocals"]
    loud = level_db(vocals, clip.sung) if clip.sung else level_db(clip.mixture, clip.unsung)
    return Score(
        clip.name,
        clip.group,
        method,
        vocals_sdr=sdrs["vocals"],
        vocals_si_sdr=si_sdrs["vocals"],
        accompaniment_sdr=sdrs["accompaniment"],
        accompaniment_si_sdr=si_sdrs["accompaniment"],
        fall=loud - level_db(vocals, clip.unsung),
    )


def score_all(clips: Iterator[EvaluationClip], separators: Mapping[str, Separator]) -> list[Score]:
    scores = []
    for clip in clips:
        print(f"{clip.group}: {clip.name}", file=sys.stderr, flush=True)
        scores += [score(clip, method, stems) for method, stems in estimates(clip, separators)]
    return scores


def means(scores: Sequence[Score]) -> list[Score]:
    """By method: of each group with stems, of all clips with stems (figures) and of all that have a fall."""
    found = []
    for group in [*dict.fromkeys(each.group for each in scores), "all"]:
        for method in dict.fromkeys(each.method for each in scores):
            same = [each for each in scores if each.method == method and group in (each.group, "all")]
            if same:
                found.append(_mean(group, method, same))
    return found


def _mean(group: str, method: str, scores: Sequence[Score]) -> Score:
    columns = ("vocals_sdr", "vocals_si_sdr", "accompaniment_sdr", "accompaniment_si_sdr", "fall")
    figures = []
    for column in columns:
        known = [value for each in scores if not math.isnan(value := getattr(each, column))]
        figures.append(sum(known) / len(known) if known else math.nan)
    return Score(f"mean of {group}", group, method, *figures)


def table(scores: Sequence[Score]) -> str:
    heads = ("clip", "method", "vocals SDR", "vocals SI-SDR", "accomp. SDR", "accomp. SI-SDR", "fall")
    lines = [f"| {' | '.join(heads)} |", "|---|---" + "|---:" * 5 + "|"]
    for each in scores:
        figures = (
            *(each.vocals_sdr, each.vocals_si_sdr, each.accompaniment_sdr, each.accompaniment_si_sdr),
            each.fall,
        )
        shown = ("–" if math.isnan(figure) else f"{figure:.1f}" for figure in figures)
        lines.append(f"| {each.clip} | {each.method} | {' | '.join(shown)} |")
    return "\n".join(lines)


def verdict(scores: Sequence[Score], model: str, study: str | None) -> Iterator[str]:
    """The bars that a new `lite` has to pass, a line each."""
    with_stems = [each for each in scores if not math.isnan(each.vocals_sdr)]
    ours = {each.clip: each for each in with_stems if each.method == model}
    if study is not None:
        theirs = {each.clip: each for each in with_stems if each.method == study}
        sdr_gain = np.mean([ours[clip].vocals_sdr - theirs[clip].vocals_sdr for clip in ours])
        si_gain = np.mean([ours[clip].vocals_si_sdr - theirs[clip].vocals_si_sdr for clip in ours])
        yield f"vocals SDR over the study's, mean: {sdr_gain:+.2f} dB (wanted: +1.0)"
        yield f"vocals SI-SDR over the study's, mean: {si_gain:+.2f} dB (wanted: +0.8)"
    free = ("mixture", "mid/side", *METHODS)
    for clip, each in ours.items():
        best = max((other for other in with_stems if other.clip == clip and other.method in free), key=_vocals_sdr)
        lead = each.vocals_sdr - best.vocals_sdr
        yield f"{clip}: {lead:+.2f} dB beside {best.method}, the best without weights (wanted: -1.0 at least)"
    for each in scores:
        if each.method == model and not math.isnan(each.fall):
            yield f"{each.clip}: vocals fall by {each.fall:.1f} dB where nobody sings (wanted: 20)"


def _vocals_sdr(each: Score) -> float:
    return each.vocals_sdr

"""Pictures to listen with the eyes: of each clip the mix, both stems, and where they are known the true ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.audio import Samples
from training.clips import RATE, EvaluationClip

SIZE, HOP = 4096, 1024
HIGHEST_HERTZ = 16000
RANGE_DB = 80.0
DOTS = 110


def write_sheet(clip: EvaluationClip, stems: Mapping[str, Samples], folder: Path) -> Path:
    """One PNG: time to the right, 0 to 16 kHz on a scale of roots, which gives voices half of the height; all panels
    in dB against the mix's loudest bin. A green bar says where people sing, a red one where only instruments play."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = {"mix": clip.mixture}
    for stem, samples in stems.items():
        panels[stem] = samples
        if stem in clip.stems:
            panels[f"{stem}, true"] = clip.stems[stem]
            panels[f"{stem}, error"] = samples - clip.stems[stem]
    seconds = len(clip.mixture) / RATE
    figure, axes = pyplot.subplots(len(panels), 1, figsize=(16, 2.6 * len(panels)), sharex=True, squeeze=False)
    loudest = decibels(clip.mixture).max()
    for axis, (title, samples) in zip(axes[:, 0], panels.items(), strict=True):
        picture = decibels(samples)
        rows = (np.linspace(0, 1, 400) ** 2 * HIGHEST_HERTZ / RATE * SIZE).astype(int)
        axis.imshow(
            picture[:, rows].T,
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, 1),
            vmin=loudest - RANGE_DB,
            vmax=loudest,
            cmap="magma",
        )
        kilohertz = (0.2, 0.5, 1, 2, 4, 8, 16)
        axis.set_yticks(
            [(each * 1000 / HIGHEST_HERTZ) ** 0.5 for each in kilohertz], [f"{each}k" for each in kilohertz]
        )
        axis.set_title(title, loc="left", fontsize=9)
        for spans, colour in ((clip.sung, "lime"), (clip.unsung, "red")):
            for start, end in spans:
                axis.axvspan(start, end, ymin=0.97, color=colour, linewidth=0)
    figure.suptitle(clip.name)
    figure.tight_layout()
    path = folder / f"{clip.group}-{re.sub(r'[^A-Za-z0-9]+', '_', clip.name).strip('_')}.png"
    figure.savefig(path, dpi=DOTS)
    pyplot.close(figure)
    return path


def decibels(samples: Samples) -> NDArray[np.float32]:
    """(frames, bins) of both channels' power together."""
    padded = np.pad(samples, ((0, SIZE), (0, 0)))
    window = np.hanning(SIZE).astype(np.float32)
    power = np.zeros(((len(padded) - SIZE) // HOP + 1, SIZE // 2 + 1), np.float32)
    for channel in padded.T:
        frames = np.lib.stride_tricks.sliding_window_view(channel, SIZE)[::HOP]
        power += np.abs(np.fft.rfft(frames * window, axis=1)).astype(np.float32) ** 2
    return np.asarray(10 * np.log10(power + 1e-9), np.float32)

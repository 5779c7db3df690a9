"""A picture of a result: spectrograms of the mix and of every stem, and the first stem's mask between them.

The files are read in blocks, and every spectrum goes at once into one of a thousand columns: a long song takes
no more memory than a short one.
"""

from __future__ import annotations

import math
import unicodedata
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.audio import Samples
from engine.audio_io import DecodeLimits, decode, probe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Image = NDArray[np.float32]
"""(ROWS, columns): magnitudes, a sine at full scale being 1.0; the lowest frequency is row 0."""

SIZE = 4096
COLUMNS = 1100
SHORTEST_HOP, LONGEST_HOP = 256, 1024
"""Samples from one spectrum to the next."""
SPECTRA_PER_COLUMN = 8
"""At most. Of long songs some of the spectra are left out: drawing an hour takes seconds, not minutes."""
ROWS = 256
FLOOR_DB, MASK_FLOOR_DB = -80.0, -60.0
"""Below the mix's maximum: what is drawn black, and where a mask would be a ratio of nothing to nothing."""
TICKS_KHZ = (0.25, 0.5, 1, 2, 4, 8, 16)
LIMITS = DecodeLimits(seconds=1e6, cpu_seconds=3600, wait_seconds=3600.0)
WIDTH, HEIGHT, HEAD, DPI = 12.0, 1.75, 1.0, 120
"""Inches: the picture's width, a panel's height, and what is above and below them."""
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Noto Sans", "Droid Sans Fallback")
"""For titles in any script, as far as they are installed; the first comes with Matplotlib."""


def draw(stems: Mapping[str, Path], receipt: Mapping[str, Any], target: Path, *, title: str) -> None:
    """Write a PNG of a result: the mix (the sum of the stems), the first stem's mask, and every stem.

    `stems` are the files of all stems by name, as written; `receipt` is the JSON of their receipt. Raises
    what reading the files raises, and OSError.
    """
    seconds = probe(next(iter(stems.values())), LIMITS).seconds
    images, rate = spectrograms(stems, seconds)
    _draw(images, seconds, rate, receipt, target, unicodedata.normalize("NFC", title))


def spectrograms(stems: Mapping[str, Path], seconds: float) -> tuple[dict[str, Image], int]:
    """Images of the stems' sum (by the name "") and of every stem, mono, and their rate in Hz.

    Each pixel is the maximum of the spectra and bins that fall into it; rows are equally far apart on the mel
    scale. Signals are taken to last `seconds`.
    """
    window = np.hanning(SIZE + 1)[:-1].astype(np.float32)
    with ExitStack() as stack:
        decodings = [stack.enter_context(decode(path, LIMITS)) for path in stems.values()]
        rate = decodings[0].rate
        first_bins = np.minimum(_hertz(np.linspace(0, _mel(rate / 2), ROWS + 1)[:-1]) / rate * SIZE, SIZE // 2)
        starts = _starts(round(seconds * rate))
        images = {name: np.zeros((ROWS, len(starts)), np.float32) for name in ("", *stems)}
        frames = [_frames(decoding.blocks(), starts) for decoding in decodings]
        for column, parts in enumerate(zip(*frames, strict=True)):
            for name, part in zip(images, (np.sum(parts, axis=0), *parts), strict=True):
                spectrum = np.abs(np.fft.rfft(part * window)).max(axis=0) * np.float32(4 / SIZE)
                images[name][:, column] = np.maximum.reduceat(spectrum, first_bins.astype(int))
    return images, rate


def _starts(total: int) -> NDArray[np.int64]:
    """First samples of the spectra of a signal of `total` samples, (columns, spectra in each)."""
    step = max(SHORTEST_HOP, math.ceil(total / COLUMNS))
    columns = max(1, math.ceil(total / step))
    each = min(SPECTRA_PER_COLUMN, math.ceil(step / LONGEST_HOP))
    return np.arange(columns)[:, None] * step + np.arange(each) * step // each


def _frames(blocks: Iterator[Samples], starts: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """For every column its windows of the signal as mono, (spectra, SIZE), each centred on its start.

    Reads as far as a column needs, and holds no more than that. Silence is before and after the signal.
    """
    held = np.zeros(SIZE // 2, np.float32)
    offset = -SIZE // 2  # the sample that `held` begins with
    for column in starts - SIZE // 2:
        end = int(column[-1]) + SIZE
        parts, length = [held], len(held)
        while offset + length < end:
            block = next(blocks, None)
            part = np.zeros(end - offset - length, np.float32) if block is None else block.mean(axis=1)
            parts.append(part)
            length += len(part)
        held = np.concatenate(parts)
        held, offset = held[int(column[0]) - offset :], int(column[0])
        yield np.stack([held[start - offset : start - offset + SIZE] for start in column])


def _mel(hertz: float) -> float:
    """O'Shaughnessy, Speech Communication, 1987."""
    return 2595 * math.log10(1 + hertz / 700)


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


def _draw(
    images: Mapping[str, Image], seconds: float, rate: int, receipt: Mapping[str, Any], target: Path, title: str
) -> None:
    from matplotlib import font_manager, rc_context
    from matplotlib.figure import Figure

    mix, first = images[""], list(images)[1]
    loudest = float(mix.max()) or 1.0
    here = {font.name for font in font_manager.fontManager.ttflist}
    with rc_context({"font.family": [font for font in FONTS if font in here], "font.size": 9}):
        figure = Figure(figsize=(WIDTH, HEAD + HEIGHT * (len(images) + 1)), layout="constrained")
        figure.suptitle(_cut(title), fontsize=13, fontweight="bold", x=0.01, ha="left", parse_math=False)
        figure.text(0.99, 0.99, _made(receipt, seconds), ha="right", va="top", parse_math=False)
        rows = figure.subplots(len(images) + 1, 2, sharex="col", width_ratios=(80, 1)).tolist()
        mask_panel, scale = rows.pop(1)
        audible = mix > loudest * 10 ** (MASK_FLOOR_DB / 20)
        mask = np.divide(images[first], mix, out=np.full_like(mix, np.nan), where=audible)  # nan: not drawn
        drawn = _image(mask_panel, np.clip(mask, 0, 1), seconds, rate, "cividis", 0, 1)
        figure.colorbar(drawn, cax=scale, label="share")
        _label(mask_panel, f"mask of {first}", "its share of the mix's magnitude")
        measures = {"mix": receipt.get("mix"), **receipt["stems"]}
        for (panel, scale), image, (name, measure) in zip(rows, images.values(), measures.items(), strict=True):
            level = 20 * np.log10(np.maximum(image / loudest, 10 ** (FLOOR_DB / 20)))
            drawn = _image(panel, level, seconds, rate, "magma", FLOOR_DB, 0)
            figure.colorbar(drawn, cax=scale, label="dB")
            _label(panel, name, _levels(measure or {}))
        rows[-1][0].set_xlabel("seconds")
        with warnings.catch_warnings():
            # A sign that no font here has becomes a box.
            warnings.filterwarnings("ignore", message="Glyph")
            figure.savefig(target, dpi=DPI)


def _image(
    panel: Axes, image: NDArray[np.float32], seconds: float, rate: int, colours: str, low: float, high: float
) -> AxesImage:
    top = _mel(rate / 2)
    panel.set_facecolor("black")
    panel.set_yticks([_mel(1000 * tick) for tick in TICKS_KHZ if 2000 * tick < rate])
    panel.set_yticklabels([f"{tick:g}" for tick in TICKS_KHZ if 2000 * tick < rate])
    panel.set_ylabel("kHz")
    return panel.imshow(
        image,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, top),
        cmap=colours,
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )


def _label(panel: Axes, name: str, text: str) -> None:
    panel.set_title(name, loc="left", fontweight="bold", pad=3)
    panel.set_title(text, loc="right", pad=3)


def _made(receipt: Mapping[str, Any], seconds: float) -> str:
    """Which model made it, by what, and how long it is."""
    runtime = receipt["runtime"]
    minutes, rest = divmod(round(seconds), 60)
    return f"{receipt['model']} · {runtime['name']} {runtime['precision']} · {minutes}:{rest:02}"


def _levels(measure: Mapping[str, Any]) -> str:
    """Loudness by ITU-R BS.1770 where it was measured, and the peak, which may be above full scale."""
    found = []
    if measure.get("loudness_lufs") is not None:
        found.append(f"{measure['loudness_lufs']:.1f} LUFS")
    elif measure.get("rms_dbfs") is not None:
        found.append(f"{measure['rms_dbfs']:.1f} dBFS RMS")
    if measure.get("peak"):
        found.append(f"peak {20 * math.log10(measure['peak']):.1f} dBFS")
    return " · ".join(found) or "silent"


def _cut(title: str, longest: int = 90) -> str:
    title = "".join(sign if sign.isprintable() else " " for sign in title)
    return title if len(title) <= longest else f"{title[: longest - 1]}…"

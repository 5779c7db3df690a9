"""BSS Eval v4, run by the Python of museval's environment: one folder for each pair of arguments,
REFERENCES ESTIMATES …, each with the same <stem>.wav or .flac. Prints one list of JSON.

v4 (Stöter, Liutkus, Ito: "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018) is what separation
is quoted in, Spleeter's own paper included: distortion filters of 512 taps for the whole song, then the
median over windows of a second.
"""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import soundfile

sys.modules["musdb"] = ModuleType("musdb")  # a data set's reader, which museval imports and which asks for ffmpeg
import museval  # type: ignore[import-not-found]  # noqa: E402


def main() -> None:
    folders = list(map(Path, sys.argv[1:]))
    print(json.dumps([scores(*pair) for pair in zip(folders[::2], folders[1::2], strict=True)]))


def scores(references: Path, estimates: Path) -> dict[str, dict[str, float]]:
    """Stem → measure → dB; nothing when a stem is silent, or its channels add up to nothing, which museval
    takes for silence and refuses."""
    stems = sorted(path.stem for path in estimates.iterdir())
    wanted, given = (
        np.stack([read(next(folder.glob(f"{stem}.*"))) for stem in stems]) for folder in (references, estimates)
    )
    if not np.all(np.any(given.sum(axis=2), axis=1)):
        return {}
    rate = soundfile.info(next(references.glob(f"{stems[0]}.*"))).samplerate
    measured = museval.evaluate(wanted, given, win=rate, hop=rate, mode="v4")
    names = ("SDR", "ISR", "SIR", "SAR")
    return {
        stem: {name: float(np.nanmedian(values[row])) for name, values in zip(names, measured, strict=True)}
        for row, stem in enumerate(stems)
    }


def read(path: Path) -> np.ndarray:
    return np.asarray(soundfile.read(path, dtype="float64", always_2d=True)[0])


if __name__ == "__main__":
    main()

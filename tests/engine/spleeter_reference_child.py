"""Spleeter itself on many songs at once: run by the Python of Spleeter's environment.

Its one argument is JSON: `weights`, `songs` (paths of WAV files), `runs` (each with `name`, `stems`, `bins`,
`extension`, `songs`: indices of the songs) and `output`. `OUTPUT/RUN.npz` holds `SONG/STEM`, float32 samples
(frames, 2); `OUTPUT/RUN/SONG/STEM.wav` is what Spleeter saves of them; `OUTPUT/songs.npz` holds every
song as Spleeter's loader gave it. A run with `alone` goes through `Separator.separate_to_file`, all others
through the same steps one by one, so that the network is built once for all songs of a run.
"""

import json
import shutil
import sys
import wave
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf  # type: ignore[import-untyped]
from spleeter.audio import Codec  # type: ignore[import-not-found]
from spleeter.audio.adapter import AudioAdapter  # type: ignore[import-not-found]
from spleeter.separator import Separator, create_estimator  # type: ignore[import-not-found]
from spleeter.utils.configuration import load_configuration  # type: ignore[import-not-found]

NAMES = "{filename}/{instrument}.wav"
"""As Spleeter's own, whose `{codec}` is no longer `wav` since Python 3.11."""


class WithoutFfmpeg(AudioAdapter):  # type: ignore[misc]
    """What Spleeter's adapter asks ffmpeg for, on a machine without it: `SONG.npy` was loaded and resampled
    with FFmpeg's libraries by the caller; samples become 16-bit integers as FFmpeg's converter makes them."""

    def load(self, audio_descriptor: str, *_: Any, sample_rate: float, **__: Any) -> tuple[Any, float]:
        return np.load(f"{audio_descriptor}.npy"), sample_rate

    def save(self, path: str, data: Any, sample_rate: float, *_: Any) -> None:
        whole = np.clip(np.rint(data.astype(np.float32) * np.float32(32768)), -32768, 32767)
        with wave.open(path, "wb") as out:
            out.setparams((data.shape[1], 2, int(sample_rate), 0, "NONE", ""))
            out.writeframes(whole.astype("<i2").tobytes())


def main() -> None:
    task = json.loads(sys.argv[1])
    output = Path(task["output"])
    here = shutil.which("ffmpeg") and shutil.which("ffprobe")
    adapter = AudioAdapter.default() if here else WithoutFfmpeg()
    songs = task["songs"]
    loaded = [adapter.load(song, offset=0, duration=600.0, sample_rate=44100)[0] for song in songs]
    np.savez(output / "songs.npz", **{Path(song).stem: samples for song, samples in zip(songs, loaded, strict=True)})
    for run in task["runs"]:
        configuration = describe(run, task["weights"], output)
        separator = Separator(configuration, multiprocess=False)
        destination = str(output / run["name"])
        if run.get("alone"):
            for index in run["songs"]:
                separator.separate_to_file(songs[index], destination, adapter, filename_format=NAMES)
            continue
        waves = [loaded[index] for index in run["songs"]]
        stereo = [np.repeat(wave, 2, axis=1) if wave.shape[1] == 1 else wave for wave in waves]
        results: dict[str, Any] = {}
        for index, stems in zip(run["songs"], predict(configuration, stereo), strict=True):
            separator.save_to_file(stems, songs[index], destination, NAMES, Codec.WAV, adapter)
            results |= {f"{Path(songs[index]).stem}/{stem}": samples for stem, samples in stems.items()}
        np.savez(output / f"{run['name']}.npz", **results)


def describe(run: dict[str, Any], weights: str, output: Path) -> str:
    """Spleeter's own configuration with this run's weights, bins and mask extension: a file's path."""
    resource = resources.files("spleeter.resources") / f"{len(run['stems'])}stems.json"
    configuration = json.loads(resource.read_text("utf-8"))
    configuration |= {"model_dir": weights, "F": run["bins"], "mask_extension": run["extension"]}
    assert configuration["instrument_list"] == run["stems"]
    path = output / f"{run['name']}.json"
    path.write_text(json.dumps(configuration), "utf-8")
    return str(path)


def predict(configuration: str, waves: list[Any]) -> Iterator[dict[str, Any]]:
    """What `Separator.separate` does, but for several songs with one network."""
    signature = {
        "waveform": tf.TensorSpec((None, 2), tf.float32),
        "audio_id": tf.TensorSpec((), tf.string),
    }

    def songs() -> Iterator[dict[str, Any]]:
        return ({"waveform": wave, "audio_id": ""} for wave in waves)

    estimator = create_estimator(load_configuration(configuration), False)
    for stems in estimator.predict(
        lambda: tf.data.Dataset.from_generator(songs, output_signature=signature), yield_single_examples=False
    ):
        stems.pop("audio_id")
        yield stems


if __name__ == "__main__":
    main()

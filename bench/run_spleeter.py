"""Spleeter on TensorFlow, run by the Python of its own environment: STEMS WEIGHTS THREADS RUNS SONG.

One `Separator` for all runs, as its documentation advises, and no more of a song than its command and its
`separate_to_file` take. Audio goes by libsndfile, which is faster than the ffmpeg processes that it starts
itself. Prints the line that `bench.child` reads.
"""

import inspect
import json
import os
import sys
import tempfile
import time
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import soundfile


def main() -> None:
    stems, weights, threads, runs, song = sys.argv[1:]
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    from spleeter.separator import Separator  # type: ignore[import-not-found]

    limit = inspect.signature(Separator.separate_to_file).parameters["duration"].default
    configuration = json.loads((resources.files("spleeter.resources") / f"{stems}stems.json").read_text("utf-8"))
    measured, first_done = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        description = Path(folder) / "configuration.json"
        description.write_text(json.dumps(configuration | {"model_dir": weights}), "utf-8")
        separator = Separator(str(description), multiprocess=False)
        for _ in range(int(runs)):
            began, cpu = time.monotonic(), sum(os.times()[:4])
            with soundfile.SoundFile(song) as file:
                rate, length = file.samplerate, file.frames
                samples = file.read(int(limit * rate), dtype="float32", always_2d=True)
            loaded = time.monotonic()
            result = separator.separate(samples)
            separated = time.monotonic()
            for stem, wave in result.items():
                soundfile.write(f"{folder}/{stem}.wav", wave, rate, subtype="PCM_16")
            ended = time.monotonic()
            first_done = first_done or ended
            measured.append(
                {
                    "seconds": ended - began,
                    "cpu_seconds": sum(os.times()[:4]) - cpu,
                    "song_seconds": len(samples) / rate,
                    "stages": {"load": loaded - began, "separate": separated - loaded, "save": ended - separated},
                }
            )
    note = f"cut at {limit:.0f} s" if length > limit * rate else ""
    name = f"spleeter {version('spleeter')} on tensorflow-cpu {version('tensorflow-cpu')}, f32, {threads} threads"
    print(json.dumps({"name": name, "runs": measured, "first_done": first_done, "note": note}))


if __name__ == "__main__":
    main()

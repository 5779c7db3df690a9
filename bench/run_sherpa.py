"""sherpa-onnx, run by the Python of its own environment: VOCALS ACCOMPANIMENT THREADS RUNS SONG.

Its own example's way (whole song in, whole stems out), one separator for all runs, audio by libsndfile.
Prints the line that `bench.child` reads.
"""

import json
import os
import sys
import tempfile
import time
from importlib.metadata import version

import numpy as np
import sherpa_onnx  # type: ignore[import-not-found]
import soundfile


def main() -> None:
    vocals, accompaniment, threads, runs, song = sys.argv[1:]
    separator = sherpa_onnx.OfflineSourceSeparation(
        sherpa_onnx.OfflineSourceSeparationConfig(
            model=sherpa_onnx.OfflineSourceSeparationModelConfig(
                spleeter=sherpa_onnx.OfflineSourceSeparationSpleeterModelConfig(
                    vocals=vocals, accompaniment=accompaniment
                ),
                num_threads=int(threads),
                provider="cpu",
            )
        )
    )
    measured, first_done = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(int(runs)):
            began, cpu = time.monotonic(), sum(os.times()[:4])
            samples, rate = soundfile.read(song, dtype="float32", always_2d=True)
            loaded = time.monotonic()
            result = separator.process(sample_rate=rate, samples=np.ascontiguousarray(samples.T))
            separated = time.monotonic()
            for stem, channels in zip(("vocals", "accompaniment"), result.stems, strict=True):
                soundfile.write(f"{folder}/{stem}.wav", np.array(channels.data).T, rate, subtype="PCM_16")
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
    name = f"sherpa-onnx {version('sherpa-onnx')}, f32, {threads} threads"
    print(json.dumps({"name": name, "runs": measured, "first_done": first_done}))


if __name__ == "__main__":
    main()

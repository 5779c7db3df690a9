"""Spleeter itself, on one song: run by the Python of Spleeter's environment, never imported by the engine.

Its one argument is JSON: `weights`, `stems`, `bins`, `extension`, `song` and `output`. Song and stems are
raw float32 samples (frames, 2); each stem becomes OUTPUT/STEM.f32.
"""

import json
import sys
from importlib import resources
from pathlib import Path

import numpy as np


def main() -> None:
    task = json.loads(sys.argv[1])
    output = Path(task["output"])
    # Spleeter's own configuration names the activations: a reference shouldn't take them from us.
    resource = resources.files("spleeter.resources") / f"{len(task['stems'])}stems.json"
    configuration = json.loads(resource.read_text("utf-8"))
    configuration |= {
        "model_dir": task["weights"],
        "F": task["bins"],
        "mask_extension": task["extension"],
    }
    description = output / "configuration.json"
    description.write_text(json.dumps(configuration), "utf-8")

    from spleeter.separator import Separator  # type: ignore[import-not-found]

    song = np.fromfile(task["song"], np.float32).reshape(-1, 2)
    stems = Separator(str(description), multiprocess=False).separate(song)
    for stem in task["stems"]:
        stems[stem].astype(np.float32).tofile(output / f"{stem}.f32")


def last_words(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """One line for the parent: TensorFlow's messages go on for pages, and begin with what it was."""
    sys.stderr.write(f"{kind.__name__}: {' '.join(str(error).split())[:300]}\n")


if __name__ == "__main__":
    sys.excepthook = last_words
    main()

"""One long song by one worker and by two, one thread and one core each. `scripts/bench parts [--quick]`.

Real workers on a database and a folder of their own. What a song takes is what its row says: from the claim to the
last byte of its stems in their place.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import psutil

from bench.contenders import DATA, machine
from bench.figures import markdown
from bench.song import write_song
from migrations.prepare import prepare
from tests.floor import Floor, opened
from tests.servers import empty_settings

WHOLE = {"VR_WORKER__SHARED_SECONDS": "0"}
PARTS = {"VR_WORKER__SHARED_SECONDS": "60"}
RUNS = (("1 worker, in one go", 1, WHOLE), ("1 worker, in parts", 1, PARTS), ("2 workers, in parts", 2, PARTS))
"""Title, workers, settings."""


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(prog="bench.parts")
    parser.add_argument("--quick", action="store_true", help="five minutes of song: to see that it runs")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--weights", type=Path, default=None, help="folder with the published archive of its weights")
    options = parser.parse_args()
    seconds = 300.0 if options.quick else options.seconds
    song = write_song(DATA / f"song-{seconds:.0f}.mp3", seconds)
    print(
        f"{machine()}, load {os.getloadavg()[0]:.1f} before it began; {seconds:.0f} s of MP3, model {options.model}.\n"
    )
    with tempfile.TemporaryDirectory(prefix="vr-parts-", dir=DATA) as folder:
        template = Path(folder) / "template.db"
        prepare(empty_settings(Path(folder), f"sqlite:///{template}"))
        rows, first = [], None
        more = {"VR_ENGINE__DEFAULT_MODEL": options.model}
        if options.weights:
            more["VR_ENGINE__WEIGHTS_LOCAL"] = str(options.weights.resolve())
        for title, workers, settings in RUNS:
            (Path(folder) / title).mkdir()
            with opened(template, Path(folder) / title, credit={"signup_grant": 10**6}) as floor:
                wall, told, digest = measure(floor, song, options.model, workers, settings | more)
            first = first or (wall, digest)
            same = "yes" if digest == first[1] else "NO"
            rows.append([title, f"{wall:.1f}", f"{seconds / wall:.1f}", f"{first[0] / wall:.2f}", told, same])
    print(markdown(["", "wall, s", "x real time", "x one go", "workers seen", "same bytes"], rows))
    if any(row[-1] == "NO" for row in rows):
        sys.exit(1)


def measure(floor: Floor, song: Path, model: str, workers: int, settings: dict[str, str]) -> tuple[float, str, str]:
    """(seconds from claim to end, how many workers made it, sha256 of its stems)."""
    cores = sorted(os.sched_getaffinity(0))
    for number in range(workers):
        floor.start(f"w{number}", settings, wait=False)
        psutil.Process(floor.workers[f"w{number}"].pid).cpu_affinity([cores[number % len(cores)]])
    floor.warm()
    person = floor.service.register("bench@example.com")
    task_id = person.submit(person.upload(song), model=model)
    floor.finished(person, task_id, seconds=7200)
    row, view = floor.service.row(task_id), person.task(task_id)
    assert row.finished_at is not None and row.claimed_at is not None
    found = hashlib.sha256()
    for stem in view["stems"]:
        with Path(stem["path"]).open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    told = str(view["receipt"].get("parts", {}).get("workers", 1))
    return (row.finished_at - row.claimed_at).total_seconds(), told, found.hexdigest()


if __name__ == "__main__":
    main()

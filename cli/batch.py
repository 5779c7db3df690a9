"""A batch of songs, one after the other: each done, skipped or failed, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from cli.batch_report import BatchReport
from cli.local_models import LocalModels
from cli.results import Place, ResultDiffers, Source, add_file, find_place, list_files, publish, read_receipt, staged
from cli.songs import Song
from cli.stop_signal import StopSignal
from engine.audio_io import DecodeLimits, cool_decoder, warm_decoder
from engine.catalog import ModelSpec
from engine.errors import EngineError, SeparationCancelled
from engine.formats import OutputFormat
from engine.models.base import HighFrequencies, Separator
from engine.runtimes.base import Precision

PICTURE = "plot.png"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shapes a result: a song is done when one with the same values lies there."""

    model: str
    format: OutputFormat
    start_seconds: float
    duration_seconds: float | None
    high_frequencies: HighFrequencies
    gain_db: float
    runtime: str
    precision: Precision | Literal["auto"]
    weights: str | None


@dataclass
class Batch:
    spec: ModelSpec
    wanted: Wanted
    models: LocalModels
    output: Path
    threads: int
    limits: DecodeLimits
    overwrite: bool
    plot: bool
    report: BatchReport
    stop: StopSignal = field(default_factory=StopSignal)
    _separator: Separator | None = None

    def run(self, songs: Sequence[Song]) -> None:
        """Every song in turn, whatever becomes of the others. Raises KeyboardInterrupt when asked to stop, and
        what keeps the model from loading."""
        self.report.begin(len(songs))
        warm_decoder()
        try:
            for song in songs:
                self.report.start(song.path)
                try:
                    self._one(song)
                except SeparationCancelled:
                    raise KeyboardInterrupt from None
                except (EngineError, OSError) as error:
                    self.report.failed(song.path, error)
        finally:
            cool_decoder()
            if self._separator is not None:
                self._separator.close()

    def _one(self, song: Song) -> None:
        source = Source(song.path, self.stop.requested)
        options = asdict(self.wanted)
        with self.stop.noted():
            place = find_place(self.output, song, source, options)
        if place.holds == "done" and not self.overwrite:
            self._skip(song, place)
            return
        if place.holds == "other" and not self.overwrite:
            raise ResultDiffers(f"{place.folder} holds another result of this song.")
        separator = self._load()
        with staged(place.folder, self.output) as part:
            with self.stop.noted():
                receipt = self._separate(song.path, separator, part)
                receipt |= {"source": source.to_json(), "options": options}
            if self.plot:
                self._draw(part, song.path, receipt)
            receipt["files"] = list_files(part)
            with self.stop.noted():
                publish(part, place.folder, receipt)
        self.report.done(song.path, place.folder, receipt)
        if self.stop.requested():
            raise KeyboardInterrupt

    def _skip(self, song: Song, place: Place) -> None:
        receipt = read_receipt(place.folder) or {}
        if self.plot and PICTURE not in receipt["files"]:
            with staged(place.folder, self.output) as part:
                self._draw(part, song.path, receipt, place.folder)
                receipt = add_file(part / PICTURE, place.folder, receipt)
        self.report.skipped(song.path, place.folder, receipt)

    def _load(self) -> Separator:
        if self._separator is None:
            self.report.stage(f"loading {self.spec.id}")
            wanted = self.wanted
            try:
                self._separator = self.models.load(
                    self.spec,
                    threads=self.threads,
                    runtime=wanted.runtime,
                    precision=wanted.precision,
                    on_progress=self.report.pulling,
                )
            except EngineError as error:
                raise ModelNotLoaded(error) from error
        return self._separator

    def _separate(self, song: Path, separator: Separator, folder: Path) -> dict[str, Any]:
        from engine.separate import separate
        from engine.sink import DirectorySink

        return separate(
            song,
            separator,
            DirectorySink(folder, self.wanted.format),
            limits=self.limits,
            high_frequencies=self.wanted.high_frequencies,
            gain_db=self.wanted.gain_db,
            start_seconds=self.wanted.start_seconds,
            duration_seconds=self.wanted.duration_seconds,
            on_progress=self.report.advance,
            cancelled=self.stop.requested,
        ).to_json()

    def _draw(self, target: Path, song: Path, receipt: dict[str, Any], stems: Path | None = None) -> None:
        from engine.plot import draw

        self.report.stage("drawing")
        suffix = self.wanted.format.suffix
        files = {stem: (stems or target) / f"{stem}{suffix}" for stem in receipt["stems"]}
        draw(files, receipt, target / PICTURE, title=song.name)


class ModelNotLoaded(Exception):
    """No song can be separated; the engine's error says why."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(str(error))
        self.error = error

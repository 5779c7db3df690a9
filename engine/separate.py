"""One song through one model: decode, separate, write, measure; in memory that does not grow with the song.

Five things run side by side: the decoder's process, and a thread each for spectra, network, inverse
transform and, the caller's own, writing. Whatever fails in any of them is raised by `separate`, after
everything has stopped and the sink has been told to discard.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from engine.audio import AudioInfo, Samples
from engine.audio_io import DecodeLimits, probe
from engine.dsp.headroom import share_excess
from engine.dsp.resample import SegmentGrid
from engine.errors import AudioEmpty, EngineError, SeparationCancelled
from engine.models.base import HighFrequencies, Separator
from engine.prefetch import ahead
from engine.receipt import Meter, Receipt, find_warnings
from engine.sink import StemSink
from engine.song_file import Part, SongFile
from engine.stages import Stages

LISTENING_SHARE = 0.1
"""How much of the progress is listening to the song before the first stem comes out."""
MOST_DB = 120.0
"""More gain than between a whisper and a jet; far more would leave the range of float32."""


@dataclass(frozen=True, slots=True)
class Progress:
    stage: Literal["listening", "separating", "finishing"]
    fraction: float
    """0 to 1, never falling."""


def separate(
    source: Path,
    separator: Separator,
    sink: StemSink,
    *,
    limits: DecodeLimits,
    info: AudioInfo | None = None,
    high_frequencies: HighFrequencies = "mixture",
    gain_db: float = 0.0,
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
    start_patch: int = 0,
    patches: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Receipt:
    """Write every stem of `source` into `sink` at the song's own rate, exactly as long as it decodes.

    `info` is what `probe` said of this file; without it, it is probed first. Mono songs give mono stems, all
    others stereo ones, made louder by `gain_db`. `start_seconds` and `duration_seconds` choose the part of
    the file that is the song. Of that song `start_patch` and `patches` (see `patch_count`) separate a range:
    ranges one after the other, in whatever processes, give the same bits as one run over all of it.

    `cancelled` is asked at every block and raises SeparationCancelled. Raises what `probe` and the model
    raise, and AudioEmpty where nothing is left to separate; in every such case the sink has discarded what it
    had. Raises ValueError for a part, a range or a gain that can't be.
    """
    if not (0 <= start_seconds < math.inf and 0 <= (duration_seconds or 0) < math.inf and abs(gain_db) <= MOST_DB):
        raise ValueError(f"A song's part begins and ends within it, and its gain is {MOST_DB} dB at most.")
    if start_patch < 0 or (patches is not None and patches < 0):
        raise ValueError("Patches are counted from 0 on.")
    began = time.perf_counter()
    stages = Stages()
    if info is None:
        with stages.timing("probe"):
            info = probe(source, limits)
    part = Part(
        round(start_seconds * info.rate), None if duration_seconds is None else round(duration_seconds * info.rate)
    )
    job = _Job(source, separator, sink, limits, info, high_frequencies, gain_db, part, stages, on_progress, cancelled)
    try:
        job.run(start_patch, patches)
    except BaseException:
        sink.discard()
        raise
    total = time.perf_counter() - began
    song, report = job.song, job.song.report
    stems = {stem: meter.measure() for stem, meter in job.stem_meters.items()}
    mix = job.mix.measure()
    return Receipt(
        model=separator.spec.id,
        family=separator.spec.family,
        weights_sha256=separator.weights_sha256,
        runtime=separator.runtime,
        high_frequencies=high_frequencies,
        output=sink.output,
        gain_db=gain_db,
        rate=info.rate,
        channels=song.channels,
        first_frame=job.first_frame,
        frames_in=job.heard,
        frames_out=job.written,
        start_seconds=part.start / info.rate,
        declared_seconds=info.declared_seconds if report is None else report.declared_seconds,
        decoded_seconds=(job.heard if report is None else report.frames) / info.rate,
        mix=mix,
        stems=stems,
        residual_dbfs=job.residual.rms_dbfs,
        seconds={stage: round(spent, 3) for stage, spent in [*stages.seconds.items(), ("total", total)]},
        real_time_factor=round(job.written / info.rate / total, 2),
        warnings=find_warnings(report, info, mix, stems, sink.output),
    )


def patch_count(
    separator: Separator, info: AudioInfo, start_seconds: float = 0.0, duration_seconds: float | None = None
) -> int:
    """Into how many patches, at least one, `separate` can cut such a song (or part of a song) for ranges.

    By the seconds that `probe` counted: the last range should have `patches=None`, since a song may decode to
    a little more.
    """
    seconds = max(0.0, info.seconds - start_seconds)
    if duration_seconds is not None:
        seconds = min(seconds, duration_seconds)
    samples = round(seconds * separator.spec.rate)
    count = 1
    while separator.patch_start(count) < samples:
        count += 1
    return count


class _Job:
    def __init__(
        self,
        source: Path,
        separator: Separator,
        sink: StemSink,
        limits: DecodeLimits,
        info: AudioInfo,
        high_frequencies: HighFrequencies,
        gain_db: float,
        part: Part,
        stages: Stages,
        on_progress: Callable[[Progress], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self.separator, self.sink, self.info, self.stages = separator, sink, info, stages
        self.high_frequencies = high_frequencies
        self.on_progress, self.cancelled = on_progress, cancelled
        self.written = 0
        self.first_frame = 0
        self._source, self._limits, self._part = source, limits, part
        self._gain = np.float32(10 ** (gain_db / 20))
        self._grid = SegmentGrid(separator.spec.rate, info.rate)
        self._fraction = 0.0

    def run(self, start_patch: int, patches: int | None) -> None:
        self._check()
        stems, rate = self.separator.spec.stems, self.info.rate
        self.first_frame = self._grid.new(self.separator.patch_start(start_patch))
        end = None if patches is None else self._grid.new(self.separator.patch_start(start_patch + patches))
        self.song = song = SongFile(
            self._source,
            self.info,
            self.separator.spec.rate,
            self._limits,
            self._part,
            self.first_frame,
            self.stages,
            self._check,
            self._listened,
            given_back=self.separator.gives_back,
        )
        self.stem_meters = {stem: Meter(rate, song.channels) for stem in stems}
        self.mix, self.residual = Meter(rate, song.channels), Meter(rate, song.channels)
        length = round(self.info.seconds * rate) - self._part.start
        self._expected = max(0, min(length, self._part.frames or length, end or length) - self.first_frame)
        with closing(song), closing(ahead(self._stems(start_patch), "separate-inverse")) as stream:
            for blocks in stream:
                self._check()
                with self.stages.timing("write"):
                    self._write(blocks, end)
                self._tell("separating", self.written / max(1, self._expected))
                if end is not None and self.first_frame + self.written >= end:
                    break
        self.heard = (song.frames if end is None else min(end, song.frames)) - self.first_frame
        if not self.heard:
            raise AudioEmpty("There is no sample in this song, or in the part of it that was asked for.")
        if self.written != self.heard:
            raise EngineError(f"Of {self.heard} frames {self.written} came out: a fault of the engine.")
        self._tell("finishing", 1.0)
        self.sink.commit()

    def _stems(self, start_patch: int) -> Iterator[Mapping[str, Samples]]:
        """The model's stems at the song's rate and with its channels, from `first_frame` on."""
        stems = self.separator.spec.stems
        if self.high_frequencies == "mixture":
            stems = stems[:-1]
        entry = self._grid.entry(self.first_frame)
        while self.separator.patch_start(start_patch) > entry:
            start_patch -= 1
        skip = entry - self.separator.patch_start(start_patch)
        stream = self.separator.stream(
            self.song, high_frequencies=self.high_frequencies, start_patch=start_patch, stages=self.stages
        )
        # Closed here, and not when it is forgotten: an error's traceback would keep it and its threads alive.
        with closing(stream):
            # One resampler for all stems: side by side, as channels.
            joined = (np.concatenate([blocks[stem] for stem in stems], axis=1) for blocks in stream)
            for block in self._grid.resampled(_skipping(joined, skip), self.first_frame):
                self._check()
                yield {stem: self._channelled(block[:, 2 * k : 2 * k + 2]) for k, stem in enumerate(stems)}

    def _channelled(self, block: Samples) -> Samples:
        return block.mean(axis=1, keepdims=True, dtype=np.float32) if self.song.channels == 1 else block

    def _write(self, blocks: Mapping[str, Samples], end: int | None) -> None:
        """Store one block of every stem; resampled ones may run a few samples past the song's end."""
        count = len(next(iter(blocks.values())))
        if end is not None:
            count = min(count, end - self.first_frame - self.written)
        original = self._louder(self.song.original.pop(count))
        if not len(original):
            return
        if not self.written:
            # Not before: the song's tags come with its first samples, and files begin with them.
            song, stems = self.song, self.separator.spec.stems
            self.sink.open(self.info.rate, song.channels, stems, self._expected, song.tags)
        stored_sum = np.zeros_like(original)
        weighted = self.mix.weigh(original)
        shares: Mapping[str, Samples] = {stem: self._louder(block[: len(original)]) for stem, block in blocks.items()}
        if self.high_frequencies == "mixture" and self.sink.output is not None and self.sink.output.clips:
            shares, beyond = share_excess(original, shares)
            if beyond is not None:
                self.stem_meters[self.separator.spec.stems[-1]].overflow(beyond)
        for stem, meter in self.stem_meters.items():
            modelled = stem in blocks
            # Else all that is missing: what the network did not see, what resampling and rounding lost.
            block = shares[stem] if modelled else original - stored_sum
            meter.hear(block)  # first: an encoder may take numbers that are none badly, and end the process
            stored = self.sink.write(stem, block)
            meter.compare(block, stored)
            if modelled:
                weighted = weighted - meter.weigh(stored)
            else:
                meter.hear_weighted(weighted, stored - block if meter.cut else None)
            stored_sum += stored
        self.mix.hear(original)
        self.residual.hear(original - stored_sum)
        self.written += len(original)

    def _louder(self, block: Samples) -> Samples:
        return block if self._gain == 1 else block * self._gain

    def _check(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise SeparationCancelled("The separation was cancelled.")

    def _listened(self, samples: int) -> None:
        self._tell("listening", samples / self.separator.spec.rate / max(self.info.seconds, 1e-9))

    def _tell(self, stage: Literal["listening", "separating", "finishing"], done: float) -> None:
        if self.on_progress is None:
            return
        if stage == "listening":
            fraction = LISTENING_SHARE * min(1.0, done)
        else:
            fraction = LISTENING_SHARE + (1 - LISTENING_SHARE) * min(1.0, done)
        self._fraction = max(self._fraction, fraction)
        self.on_progress(Progress(stage, self._fraction))


def _skipping(blocks: Iterator[Samples], count: int) -> Iterator[Samples]:
    """All but the first `count` frames."""
    for block in blocks:
        if count < len(block):
            yield block[count:]
        count = max(0, count - len(block))

"""One song through one model: decode, separate, write, measure; in memory that does not grow with the song.

Five things run side by side: the decoder's process, and a thread each for spectra, network, inverse
transform and, the caller's own, writing. Whatever fails in any of them is raised by `separate`, after
everything has stopped and the sink has been told to discard. Stems that `engine.parts` had made are written by the
same code: only the three in the middle don't run then.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from engine.audio import AudioInfo, Samples
from engine.audio_io import DecodeLimits, Opened
from engine.dsp.headroom import share_excess
from engine.errors import AudioEmpty, EngineError, SeparationCancelled
from engine.modelled import KeptPatch, ModelledStems
from engine.models.base import HighFrequencies, Separator
from engine.receipt import Meter, Receipt, find_warnings
from engine.sample_queue import regrouped
from engine.sink import StemSink
from engine.song_file import Part, SongFile
from engine.stages import Stages

LISTENING_SHARE = 0.1
"""How much of the progress is listening to the song before the first stem comes out."""
MOST_DB = 120.0
"""More gain than between a whisper and a jet; far more would leave the range of float32."""
BLOCK_FRAMES = 1 << 15
"""Frames that are written and measured at once, cut at the same ones in every run: sums and some encoders round by
block, and models and kept patches come in blocks of their own."""


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
    kept: KeptPatch | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    stages: Stages | None = None,
) -> Receipt:
    """Write every stem of `source` into `sink` at the song's own rate, exactly as long as it decodes.

    `info` is what `probe` said of this file; without it, it is probed first. Mono songs give mono stems, all
    others stereo ones, made louder by `gain_db`. `start_seconds` and `duration_seconds` choose the part of
    the file that is the song. Of that song `start_patch` and `patches` (see `patch_count`) separate a range:
    ranges one after the other, in whatever processes, give the same bits as one run over all of it.

    With `kept` no network runs: kept(patch) gives what `engine.parts.separate_patches` handed over, with the same
    song, part, model and high frequencies. It is asked for each patch once, in order, by the caller's thread; it may
    wait until the patch is there, and raise. What is written, and measured, is that of a run with the network.

    `stages` is told when each stage is at work; without it, only the receipt says for how long each was.
    `cancelled` is asked at every block and raises SeparationCancelled. Raises what `probe` and the model
    raise, and AudioEmpty where nothing is left to separate; in every such case the sink has discarded what it
    had. Raises ValueError for a part, a range or a gain that can't be, PatchCorrupt for a kept patch that does not
    fit the song.
    """
    if not abs(gain_db) <= MOST_DB:
        raise ValueError(f"A song's part is made {MOST_DB} dB louder or softer at most.")
    if start_patch < 0 or (patches is not None and patches < 0):
        raise ValueError("Patches are counted from 0 on.")
    began = time.perf_counter()
    stages = stages or Stages()
    with ExitStack() as running:
        file: Path | Opened = source
        if info is None:
            with stages.timing("probe"):
                file = running.enter_context(Opened(source, limits))
            info = file.info
        part = Part.of(info.rate, start_seconds, duration_seconds)
        job = _Job(file, separator, sink, limits, info, high_frequencies, gain_db, part, stages, on_progress, cancelled)
        try:
            job.run(start_patch, patches, kept)
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
        source: Path | Opened,
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
        self._modelled = ModelledStems(separator, info, high_frequencies)
        self._fraction = 0.0

    def run(self, start_patch: int, patches: int | None, kept: KeptPatch | None) -> None:
        self._check()
        stems, rate, modelled = self.separator.spec.stems, self.info.rate, self._modelled
        self.first_frame = modelled.first_frame(start_patch)
        end = None if patches is None else modelled.first_frame(start_patch + patches)
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
            remembered="given_back" if self.separator.gives_back and kept is None else "decoded",
        )
        self.stem_meters = {stem: Meter(rate, song.channels) for stem in stems}
        self.mix, self.residual = Meter(rate, song.channels), Meter(rate, song.channels)
        length = round(self.info.seconds * rate) - self._part.start
        self._expected = max(0, min(length, self._part.frames or length, end or length) - self.first_frame)
        if kept is None:
            stream = modelled.from_network(song, start_patch, self.stages)
        else:
            stream = modelled.from_kept(song, kept, start_patch, patches, self.stages)
        with closing(song), closing(stream):
            # Cut where the model's own blocks end: they need not be put together anew, as long as rates are the same.
            for block in regrouped(stream, _block_sizes(self.first_frame, end, modelled.first_frame(1))):
                self._check()
                with self.stages.timing("write"):
                    self._write(modelled.by_stem(block), end)
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


def _block_sizes(first: int, end: int | None, cut: int) -> Iterator[int]:
    """From frame `first` on, BLOCK_FRAMES for ever, but cut at `cut` and all frames BLOCK_FRAMES apart from it; and at
    `end`, so that a range is not waited for beyond it."""
    at = first
    while end is None or at < end:
        size = (cut - at - 1) % BLOCK_FRAMES + 1
        yield size if end is None else min(size, end - at)
        at += size
    yield from itertools.repeat(BLOCK_FRAMES)

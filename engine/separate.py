"""One song through one model: decode, separate, write, measure; in memory that does not grow with the song.

Three things run side by side: the decoder's process, the model's threads, and the caller's thread, which
writes. Whatever fails in any of them is raised by `separate`, after everything has stopped and the sink has
been told to discard.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soxr

from engine.audio import AudioInfo, Samples
from engine.audio_io import DecodeLimits, DecodeReport, decode, probe
from engine.errors import AudioEmpty, SeparationCancelled
from engine.models.base import HighFrequencies, Separator
from engine.prefetch import ahead
from engine.receipt import Meter, Receipt, find_warnings
from engine.sample_queue import SampleQueue
from engine.sink import StemSink

RESAMPLED_SECONDS = 2
"""At most so much goes through a resampler at once: one block of a file can be long, and the higher the
ratio of the rates, the more comes out."""
LISTENING_SHARE = 0.1
"""How much of the progress is reading ahead before the first stem comes out."""


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
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Receipt:
    """Write every stem of `source` into `sink` at the song's own rate, exactly as long as it decodes.

    `info` is what `probe` said of this file; without it, it is probed first. Mono songs give mono stems, all
    others stereo ones. `cancelled` is asked at every block and raises SeparationCancelled. Raises what
    `probe` and the model raise; in every such case the sink has discarded what it had.
    """
    began = time.monotonic()
    if info is None:
        info = probe(source, limits)
    job = _Job(source, separator, sink, limits, info, high_frequencies, on_progress, cancelled)
    job.seconds["probe"] = time.monotonic() - began
    try:
        report = job.run()
    except BaseException:
        sink.discard()
        raise
    total = time.monotonic() - began
    stems = {stem: meter.measure() for stem, meter in job.stem_meters.items()}
    return Receipt(
        model=separator.spec.id,
        family=separator.spec.family,
        weights_sha256=separator.weights_sha256,
        runtime=separator.runtime,
        high_frequencies=high_frequencies,
        rate=info.rate,
        channels=job.channels,
        frames_in=report.frames,
        frames_out=job.written,
        declared_seconds=report.declared_seconds,
        decoded_seconds=report.frames / info.rate,
        stems=stems,
        residual_dbfs=job.residual.rms_dbfs,
        seconds={
            **{stage: round(spent, 3) for stage, spent in job.seconds.items()},
            "total": round(total, 3),
        },
        real_time_factor=round(report.frames / info.rate / total, 2),
        warnings=find_warnings(report, info.rate, job.channels, job.mix, stems),
    )


class _Job:
    def __init__(
        self,
        source: Path,
        separator: Separator,
        sink: StemSink,
        limits: DecodeLimits,
        info: AudioInfo,
        high_frequencies: HighFrequencies,
        on_progress: Callable[[Progress], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self.source, self.separator, self.sink, self.limits, self.info = source, separator, sink, limits, info
        self.high_frequencies = high_frequencies
        self.on_progress, self.cancelled = on_progress, cancelled
        self.channels = 1 if info.channels == 1 else 2
        self.stem_meters = {stem: Meter() for stem in separator.spec.stems}
        self.mix, self.residual = Meter(), Meter()
        self.seconds = {"decode": 0.0, "model": 0.0, "write": 0.0}
        self.written = 0
        self._original = SampleQueue(self.channels)
        self._report: DecodeReport | None = None
        self._fraction = 0.0
        self._heard = 0

    def run(self) -> DecodeReport:
        self._check()
        stems = self.separator.spec.stems
        expected = round(self.info.seconds * self.info.rate)
        self.sink.open(self.info.rate, self.channels, stems, expected)
        with closing(ahead(self._stems(), 1, "separate-model")) as resampled:
            waited = time.monotonic()
            for blocks in resampled:
                self._check()
                arrived = time.monotonic()
                self.seconds["model"] += arrived - waited
                self._write(blocks)
                waited = time.monotonic()
                self.seconds["write"] += waited - arrived
                self._tell("separating", self.written / max(1, expected))
        report = self._report
        if report is None or not report.frames:
            raise AudioEmpty("The file's audio holds no sample.")
        self._pad(report.frames)
        self._tell("finishing", 1.0)
        self._check()
        self.sink.commit()
        return report

    def _song(self) -> Iterator[Samples]:
        """The song from its start as the model wants it, (frames, 2) at the model's rate.

        The model may ask for it more than once; stems belong to the last time.
        """
        self._original = original = SampleQueue(self.channels)
        self._heard = 0
        resample = _resampler(self.info.rate, self.separator.spec.rate, 2)
        with decode(self.source, self.limits) as decoding:
            blocks = decoding.blocks()
            while True:
                self._check()
                began = time.monotonic()
                block = next(blocks, None)
                self.seconds["decode"] += time.monotonic() - began
                if block is None:
                    break
                original.push(block)
                self._heard += len(block)
                self._tell("listening", 0.0)
                stereo = block if block.shape[1] == 2 else np.repeat(block, 2, axis=1)
                for part in resample(stereo, False):
                    self._check()
                    yield part
            for rest in resample(np.zeros((0, 2), np.float32), True):
                if len(rest):
                    yield rest
            self._report = decoding.report

    def _stems(self) -> Iterator[dict[str, Samples]]:
        """The model's stems at the song's rate and with its channels; every block's stems equally long."""
        stems = self.separator.spec.stems
        resample = {stem: _resampler(self.separator.spec.rate, self.info.rate, 2) for stem in stems}
        # Nobody else holds the model's generator: it ends with this one, and the decoder with it.
        for blocks in self.separator.stream(self._song, high_frequencies=self.high_frequencies):
            for parts in zip(*(resample[stem](blocks[stem], False) for stem in stems), strict=True):
                self._check()
                yield dict(zip(stems, map(self._channelled, parts), strict=True))
        empty = np.zeros((0, 2), np.float32)
        for parts in zip(*(resample[stem](empty, True) for stem in stems), strict=True):
            yield dict(zip(stems, map(self._channelled, parts), strict=True))

    def _channelled(self, block: Samples) -> Samples:
        return block.mean(axis=1, keepdims=True, dtype=np.float32) if self.channels == 1 else block

    def _write(self, blocks: Mapping[str, Samples]) -> None:
        """Store one block of every stem; resampled ones may run a few samples past the song's end."""
        original = self._original.pop(len(next(iter(blocks.values()))))
        if not len(original):
            return
        stored_sum = np.zeros_like(original)
        last = self.separator.spec.stems[-1]
        for stem, meter in self.stem_meters.items():
            block = blocks[stem][: len(original)]
            if stem == last and self.high_frequencies == "mixture":
                # All that is missing: what the network did not see, what resampling and rounding lost.
                block = original - stored_sum
            stored = self.sink.write(stem, block)
            meter.hear(block, stored)
            stored_sum += stored
        self.mix.hear(original)
        self.residual.hear(original - stored_sum)
        self.written += len(original)

    def _pad(self, frames: int) -> None:
        """Resampling there and back can end a sample early."""
        missing = frames - self.written
        if missing > 0:
            silence = np.zeros((missing, self.channels), np.float32)
            self._write(dict.fromkeys(self.stem_meters, silence))

    def _check(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise SeparationCancelled("The separation was cancelled.")

    def _tell(self, stage: Literal["listening", "separating", "finishing"], done: float) -> None:
        if self.on_progress is None:
            return
        if stage == "listening":
            if self.written:
                return  # Reading runs ahead of writing in a thread of its own; one voice is enough.
            heard = self._heard / self.info.rate / max(self.info.seconds, 1e-9)
            fraction = LISTENING_SHARE * min(1.0, heard)
        else:
            fraction = LISTENING_SHARE + (1 - LISTENING_SHARE) * min(1.0, done)
        self._fraction = max(self._fraction, fraction)
        self.on_progress(Progress(stage, self._fraction))


def _resampler(rate: float, new_rate: float, channels: int) -> Callable[[Samples, bool], Iterator[Samples]]:
    """(block, whether it is the last) → resampled parts, each of about RESAMPLED_SECONDS at most; the
    identity when the rates are equal. Parts are made as they are asked for, and all must be."""
    if rate == new_rate:
        return lambda block, last: iter((block,))
    stream = soxr.ResampleStream(rate, new_rate, channels, dtype="float32", quality="VHQ")
    step = max(1, int(rate * RESAMPLED_SECONDS))

    def resample(block: Samples, last: bool) -> Iterator[Samples]:
        for start in range(0, max(1, len(block)), step):
            end = start + step
            yield stream.resample_chunk(block[start:end], last=last and end >= len(block))

    return resample

"""`vocal-remover separate`: songs to stems on this machine, without a server and without a database."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.batch import Batch, ModelNotLoaded, Wanted
from cli.batch_report import BatchReport, NobodyReads
from cli.local_models import LocalModels
from cli.songs import Song, find_songs
from engine.audio_io import DecodeLimits
from engine.errors import OutputUnsupported, UnknownModel
from engine.formats import BitDepth, Container, make_format
from engine.models.base import HighFrequencies

ALL_DONE, SOME_FAILED, USAGE, SIGNALLED = 0, 1, 2, 128
EXIT_CODES = "Exit codes: 0 all done, 1 some failed, 2 wrong command line, 130 interrupted (143 by SIGTERM)."
DEPTHS: dict[str, BitDepth] = {"16": 16, "24": 24, "float": "float"}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog=EXIT_CODES)
def separate(
    songs: Annotated[list[str], typer.Argument(metavar="SONG", help="Songs, folders, patterns in quotes.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A folder for each song goes here.")],
    model: Annotated[
        str | None, typer.Option(help="Id of a model; else spleeter:2stems where its weights are here, or lite.")
    ] = None,
    stems: Annotated[
        Literal["2", "4", "5"] | None, typer.Option(help="Spleeter's model for so many stems, fetched if missing.")
    ] = None,
    container: Annotated[Container, typer.Option("--format", help="Of the files.")] = "wav",
    bit_depth: Annotated[
        Literal["16", "24", "float"] | None, typer.Option(help="Of wav and flac; else 16.", show_default=False)
    ] = None,
    bit_rate: Annotated[int | None, typer.Option(metavar="KBIT/S", help="Of mp3, ogg and m4a; else 256.")] = None,
    start: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Leave out what is before.")] = 0.0,
    duration: Annotated[float | None, typer.Option(metavar="SECONDS", help="At most so much of the song.")] = None,
    high_frequencies: Annotated[
        HighFrequencies,
        typer.Option(help="What the network doesn't see: mixture lets the stems sum to the song; zeros is Spleeter's."),
    ] = "mixture",
    gain: Annotated[float, typer.Option(min=-60, max=24, metavar="DB", help="Louder or softer stems.")] = 0.0,
    runtime: Annotated[
        Literal["auto", "openvino", "onnxruntime", "onnxruntime_cuda", "spleeter_tf", "kserve"],
        typer.Option(help="What runs the network; auto is the fastest here."),
    ] = "auto",
    precision: Annotated[
        Literal["auto", "f32", "bf16", "f16", "int8"],
        typer.Option(help="Of the network's numbers; auto is what the device is made for."),
    ] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="0: every core.")] = 0,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with weights: a checkpoint, 2stems.tar.gz or 2stems/.", exists=True),
    ] = None,
    graph_cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keeps graphs made from weights; else the service's.")
    ] = None,
    max_seconds: Annotated[float, typer.Option(min=0, help="Longest song that is taken.")] = 36_000.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make again what is there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a song on stdout.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="A picture of mix, mask and stems beside them.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what fails.")] = False,
) -> None:
    """Write the stems of songs into a folder for each song, with a receipt of how they were made.

    A song whose result is there already is skipped: call it again after an interruption.
    """
    if model is not None and stems is not None:
        raise typer.BadParameter("--stems chooses a model: leave --model or --stems out.")
    if duration is not None and not duration > 0:
        raise typer.BadParameter("--duration takes seconds above 0.")
    if not all(math.isfinite(number) for number in (start, duration or 0.0, gain, max_seconds)):
        raise typer.BadParameter("--start, --duration, --gain and --max-seconds take finite numbers.")
    report = BatchReport(quiet=quiet, as_json=as_json)
    models = LocalModels(weights, graph_cache)
    try:
        spec = models.choose(model, int(stems) if stems else None)
        if runtime == "spleeter_tf" and spec.family != "spleeter":
            raise typer.BadParameter(f"--runtime spleeter_tf runs Spleeter's models only, not {spec.id!r}.")
        wanted = Wanted(
            model=spec.id,
            format=make_format(container, DEPTHS.get(bit_depth or ""), bit_rate),
            start_seconds=start,
            duration_seconds=duration,
            high_frequencies=high_frequencies,
            gain_db=gain,
            runtime=runtime,
            precision=precision,
            weights=None if weights is None else str(weights.resolve()),
        )
    except (UnknownModel, OutputUnsupported) as error:
        report.failed(None, error)
        raise typer.Exit(USAGE) from error
    batch = Batch(
        spec,
        wanted,
        models,
        output,
        threads or len(os.sched_getaffinity(0)),
        DecodeLimits(seconds=max_seconds),
        overwrite,
        plot,
        report,
    )
    raise typer.Exit(_run(batch, songs))


def _run(batch: Batch, arguments: Sequence[str]) -> int:
    report, stop = batch.report, batch.stop
    with stop, report:
        try:
            songs: list[Song] = []
            for found in find_songs(arguments, batch.output):
                if isinstance(found, Song):
                    songs.append(found)
                else:
                    report.failed(None, found)
            batch.output.mkdir(parents=True, exist_ok=True)
            batch.run(songs)
        except KeyboardInterrupt:
            report.note("Interrupted: the same command goes on where this one stopped.")
            return SIGNALLED + (stop.number or signal.SIGINT)
        except NobodyReads:
            report.note("Standard output was closed: stopped.")
            return SOME_FAILED
        except ModelNotLoaded as error:
            report.failed(None, error.error)
        except OSError as error:
            report.failed(None, error)
        report.summary()
    return SOME_FAILED if report.counts["failed"] else ALL_DONE

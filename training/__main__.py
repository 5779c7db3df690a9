"""`python -m training COMMAND`: from nothing to the committed model; training/README.md says in which order."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from training.configuration import CONFIGURATIONS

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "data" / "training"
"""Nothing in it is committed."""
DATA = ROOT.parent / "shared" / "data"
SPLEETER = ROOT / "data" / "models" / "2stems"
GRAPH = ROOT / "assets" / "models" / "lite.onnx"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    try:
        COMMANDS[options.command](options)
    except ImportError as error:
        sys.exit(f"{error}. Training has an environment of its own: see training/README.md.")


def parser() -> argparse.ArgumentParser:
    shows = argparse.ArgumentDefaultsHelpFormatter
    root = argparse.ArgumentParser(prog="training", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)

    pools = commands.add_parser("pools", help="make clips of voices and accompaniments", formatter_class=shows)
    pools.add_argument("--pools", type=Path, default=WORK / "pools", help="folder of the pools")
    pools.add_argument("--kinds", nargs="*", help="only these; `real` are the CC0 stems, `recorded` is --music")
    pools.add_argument("--clips", type=int, help="so many of each kind, instead of the recipe's numbers")
    pools.add_argument("--scale", type=float, default=1.0, help="times the recipe's numbers of clips")
    pools.add_argument("--stems", type=Path, default=DATA / "stems_train", help="songs with stems, to learn from")
    pools.add_argument("--music", type=Path, default=WORK / "music", help="folder of recorded music without a voice")
    pools.add_argument("--weights", type=Path, default=SPLEETER, help="of Spleeter's 2 stems, which hears where one is")
    pools.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    pools.add_argument("--seed", type=int, default=0)
    pools.add_argument("--fresh", action="store_true", help="throw away what other recipes made")

    train = commands.add_parser("train", help="learn from pools", formatter_class=shows)
    train.add_argument("--pools", type=Path, default=WORK / "pools")
    train.add_argument("--out", type=Path, default=WORK / "run", help="folder of checkpoints; a run in it goes on")
    train.add_argument("--config", choices=CONFIGURATIONS, default="wide")
    length = train.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="of work; the rate of learning falls to fit. 120 by default")
    length.add_argument("--steps", type=int)
    train.add_argument("--batch", type=int, default=12)
    train.add_argument("--frames", type=int, default=256, help="of 23 ms, a multiple of 8")
    train.add_argument("--rate", type=float, default=2e-3, help="highest rate of learning")
    train.add_argument("--precision", choices=("bf16", "f32"), default="bf16")
    train.add_argument("--compile", action="store_true", help="fuse operations; needs a C++ compiler")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda")
    train.add_argument("--threads", type=int, default=2, help="of the CPU")
    train.add_argument("--workers", type=int, default=1, help="processes that mix; 0: none beside this one")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--init", type=Path, help="checkpoint or graph that a new run begins with")
    train.add_argument("--leave-out", metavar="SONG", help="one of the CC0 songs (4.Potassium), for validation only")
    train.add_argument("--leakage", type=float, default=0.1, help="weight of leakage into silence in the loss")
    train.add_argument("--validation-examples", type=int, default=64)
    train.add_argument("--validate-minutes", type=float, default=5.0, help="from one validation to the next")
    train.add_argument("--save-minutes", type=float, default=3.0, help="what a kill -9 may cost at most")

    evaluate = commands.add_parser("evaluate", help="one table on recordings", formatter_class=shows)
    _measured(evaluate)
    evaluate.add_argument("--study", type=Path, help="a checkpoint or graph to compare with")
    evaluate.add_argument("--groups", nargs="*", help="only these: stems, mixed, songs, instruments")

    export = commands.add_parser("export", help="checkpoint to ONNX graph", formatter_class=shows)
    export.add_argument("checkpoint", type=Path, nargs="?", default=WORK / "run" / "best.pt")
    export.add_argument("graph", type=Path, nargs="?", default=GRAPH)
    export.add_argument("--mask-exponent", type=float, help="by default the configuration's")
    export.add_argument("--mask-shift", type=float, help="by default the configuration's")
    export.add_argument("--memory", type=int, help="of the recurrent middle, by default the configuration's")

    pictures = commands.add_parser("spectrograms", help="a picture of each clip and its stems", formatter_class=shows)
    _measured(pictures)
    pictures.add_argument("--out", type=Path, default=WORK / "spectrograms")

    cost = commands.add_parser("operations", help="what a network costs, by layer", formatter_class=shows)
    cost.add_argument("--config", choices=CONFIGURATIONS, default="wide")
    return root


def _measured(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", type=Path, default=GRAPH, help="ONNX graph or checkpoint")
    command.add_argument("--data", type=Path, default=DATA, help="recordings to measure on")
    command.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    command.add_argument("--threads", type=int, default=2)
    command.add_argument("--centre", type=float, help="of the model, by default the catalogue's; the study has none")


def pools(options: argparse.Namespace) -> None:
    from engine.errors import EngineError
    from training.pools import ClipFailed, PoolStale, fill
    from training.real import KIND, StemsMissing, fill_real
    from training.recipes import RECIPES
    from training.recorded import KIND as RECORDED
    from training.recorded import MusicMissing, fill_recorded
    from training.synthesis import programs

    known = [*RECIPES, KIND, RECORDED]
    kinds = options.kinds or known
    if not options.kinds and not options.music.is_dir():
        print(f"There is no {options.music}: without recorded music. See training/README.md.", file=sys.stderr)
        kinds.remove(RECORDED)
    if unknown := set(kinds) - set(known):
        sys.exit(f"There is no kind {', '.join(sorted(unknown))}. Known: {', '.join(known)}.")
    try:
        if set(kinds) & set(RECIPES):
            programs.check()
        for kind in kinds:
            if kind == KIND:
                print(f"{KIND}: {len(fill_real(options.pools, options.stems, fresh=options.fresh))} clips")
                continue
            if kind == RECORDED:
                made = {"workers": options.workers, "fresh": options.fresh}
                print(f"{RECORDED}: {len(fill_recorded(options.pools, options.music, options.weights, **made))} clips")
                continue
            count = options.clips or max(1, round(RECIPES[kind].clips * options.scale))
            made = {"seed": options.seed, "workers": options.workers, "fresh": options.fresh}
            pool, seconds = fill(options.pools, RECIPES[kind], count, **made)
            print(f"{kind}: {len(pool)} clips" + (f", {seconds:.1f} CPU seconds a new one" if seconds else ""))
    except (programs.ProgramMissing, ClipFailed, PoolStale, StemsMissing, MusicMissing, EngineError) as error:
        sys.exit(str(error))


def train(options: argparse.Namespace) -> None:
    from training.loss import LossWeights
    from training.mixing import Mixing
    from training.pools import PoolMissing, PoolStale
    from training.train import TrainOptions
    from training.train import train as learn

    minutes = options.minutes if options.minutes or options.steps else 120.0
    names = (
        "pools",
        "out",
        "steps",
        "batch",
        "frames",
        "rate",
        "precision",
        "compile",
        "device",
        "threads",
        "workers",
        "seed",
    )
    said = {
        name: getattr(options, name)
        for name in (*names, "init", "validation_examples", "validate_minutes", "save_minutes")
    }
    weights, mixing = LossWeights(leakage=options.leakage), Mixing(left_out=options.leave_out)
    config = CONFIGURATIONS[options.config]
    try:
        figures = learn(TrainOptions(**said, minutes=minutes, config=config, weights=weights, mixing=mixing))
    except (PoolMissing, PoolStale, ValueError) as error:
        sys.exit(str(error))
    print(figures.line())


def evaluate(options: argparse.Namespace) -> None:
    from training.clips import find_clips
    from training.evaluate import load_lite, means, score_all, table, verdict

    if not options.data.is_dir():
        sys.exit(f"There are no recordings at {options.data}: give their folder by --data.")
    separators = {"lite": load_lite(options.model, options.precision, options.threads, options.centre)}
    if options.study:
        separators["study"] = load_lite(options.study, options.precision, options.threads, centre=0)
    clips = (clip for clip in find_clips(options.data) if not options.groups or clip.group in options.groups)
    scores = score_all(clips, separators)
    print(table([*scores, *means(scores)]))
    print()
    print("\n".join(f"- {line}" for line in verdict(scores, "lite", "study" if options.study else None)))


def export(options: argparse.Namespace) -> None:
    from training.export import export as write

    graph = write(options.checkpoint, options.graph, options.mask_exponent, options.mask_shift, options.memory)
    print(f"{graph.path}: {graph.size:,} bytes, sha256 {graph.sha256}")


def spectrograms(options: argparse.Namespace) -> None:
    from training.clips import find_clips
    from training.evaluate import load_lite, separated
    from training.spectrograms import write_sheet

    options.out.mkdir(parents=True, exist_ok=True)
    separator = load_lite(options.model, options.precision, options.threads, options.centre)
    for clip in find_clips(options.data):
        print(write_sheet(clip, separated(clip.mixture, separator), options.out))


def operations(options: argparse.Namespace) -> None:
    from training.operations import table

    print(table(CONFIGURATIONS[options.config]))


COMMANDS = {
    "pools": pools,
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "spectrograms": spectrograms,
    "operations": operations,
}

if __name__ == "__main__":
    main()

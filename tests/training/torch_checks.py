"""What only an environment with torch can check: `python -m tests.training.torch_checks NAME [FOLDER]`, run by
test_learning. A check fails by an exception."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from engine.models.lite import CHUNK, CONTEXT
from tests.training.small_pools import small_pools
from training.checkpoint import load, load_network
from training.configuration import BINS, CONFIGURATIONS, STUDY, TINY, NetworkConfig
from training.export import export
from training.feed import Feed
from training.hearing import hear, magnitudes
from training.loss import apply, leakage, loss, power, sdr
from training.network import LiteNetwork, fold, folded, parameters, unfold
from training.operations import layers
from training.train import Run, TrainOptions, train

ROOT = Path(__file__).resolve().parents[2]
CHECKS: dict[str, Callable[[Path], None]] = {}


def check(function: Callable[[Path], None]) -> Callable[[Path], None]:
    CHECKS[function.__name__] = function
    return function


def run_graph(path: Path, magnitudes: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["demix"], {"magnitudes": magnitudes.numpy()})[0])


def heard(frames: int = 64, batch: int = 1) -> torch.Tensor:
    torch.manual_seed(0)
    return magnitudes(torch.randn(batch, 2, frames, BINS, dtype=torch.complex64))


def close(one: torch.Tensor, other: torch.Tensor, most: float) -> None:
    difference = float((one - other).abs().max())
    assert difference <= most, f"they differ by {difference}"


def wakened(config: NetworkConfig) -> LiteNetwork:
    """Random weights, and batch norms that have seen something, so that folding them changes numbers."""
    torch.manual_seed(1)
    network = LiteNetwork(config).train()
    for _ in range(3):
        network(heard(batch=2))
    return network.eval()


@check
def networks_have_their_shapes(folder: Path) -> None:
    for config in CONFIGURATIONS.values():
        with torch.inference_mode():
            matrix = wakened(config)(heard(64, 2))
        assert matrix.shape == (2, 4, 64, BINS)
        assert matrix[:, 0::3].min() >= 0
        assert matrix.abs().max() <= 1
    assert parameters(LiteNetwork(NetworkConfig())) <= 3_000_000
    assert parameters(LiteNetwork(STUDY)) == 2_064_688


@check
def folding_loses_nothing(folder: Path) -> None:
    z = torch.rand(2, 4, 16, BINS)
    for by in ((1, 4), (2, 8), (4, 2)):
        there = fold(z, by)
        assert there.shape == (2, 4 * by[0] * by[1], 16 // by[0], BINS // by[1])
        assert torch.equal(unfold(there, by), z)
        a, b, channel = by[0] - 1, by[1] - 1, (2 * by[0] + by[0] - 1) * by[1] + by[1] - 1
        assert torch.equal(there[:, channel, 1, 3], z[:, 2, by[0] + a, 3 * by[1] + b])


@check
def batch_norms_fold_away(folder: Path) -> None:
    for config in CONFIGURATIONS.values():
        network = wakened(config)
        with torch.inference_mode():
            close(folded(network)(heard()), network(heard()), 5e-4)


@check
def a_moment_depends_on_its_neighbourhood_alone(folder: Path) -> None:
    """The engine's chunks and their context give what all frames at once do."""
    network, song = wakened(NetworkConfig()), heard(2 * CHUNK)
    with torch.inference_mode():
        whole = network(song)
        chunk, bare = (network(song[:, :, CHUNK - context :])[:, :, context:] for context in (CONTEXT, 0))
    close(chunk, whole[:, :, CHUNK:], 2e-6)
    assert (bare - whole[:, :, CHUNK:]).abs().max() > 1e-3


@check
def the_study_can_be_measured(folder: Path) -> None:
    """`folder` holds the study: its own network says the same as ours with its weights, and so does the graph."""
    sys.path.insert(0, str(folder))
    import separate as study  # type: ignore[import-not-found]

    network, path = load_network(folder / "lite_fp16.pt"), folder_of("graph") / "study.onnx"
    spectrum = torch.randn(1, 2, 64, BINS, dtype=torch.complex64, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        theirs = study.load(str(folder / "lite_fp16.pt"))(spectrum.transpose(2, 3)).transpose(2, 3)
        close(network(magnitudes(spectrum)), theirs, 5e-4)
        network.exponent = STUDY.mask_exponent
        export(folder / "lite_fp16.pt", path)
        close(run_graph(path, heard()), network(heard()), 2e-3)


@check
def graphs_compute_what_networks_do(folder: Path) -> None:
    options = TrainOptions(small(folder), folder / "run", TINY, steps=1, batch=2, frames=32, **QUICK)
    train(options)
    path, again = folder / "one.onnx", folder / "two.onnx"
    made = export(folder / "run" / "last.pt", path)
    assert export(folder / "run" / "last.pt", again).sha256 == made.sha256
    network = load_network(folder / "run" / "last.pt")
    for frames in (16, 64, 1152):
        with torch.inference_mode():
            close(run_graph(path, heard(frames)), network(heard(frames)), 4e-3)
    opened = export(folder / "run" / "last.pt", again, mask_exponent=0.5, mask_shift=0.0)
    assert opened.sha256 != made.sha256
    assert (run_graph(again, heard())[:, 0] >= run_graph(path, heard())[:, 0] - 1e-6).all()


@check
def a_graph_can_learn_on(folder: Path) -> None:
    options = TrainOptions(small(folder), folder / "run", TINY, steps=60, batch=4, frames=64, rate=5e-3, **QUICK)
    shipped = folder / "shipped.onnx"
    learnt = train(options)
    export(folder / "run" / "last.pt", shipped)
    network = Run(replace(options, out=folder / "again", init=shipped)).network.eval()
    song = hear(Feed(options.pools, 64, 4, 0).mixer().batch(0, 0, 16), torch.device("cpu")).magnitudes
    with torch.inference_mode():
        close(network(song), run_graphs(shipped, song), 4e-3)
        close(network.train()(song), run_graphs(shipped, song), 4e-3)  # by the batch's own mean and variance
    again = train(replace(options, out=folder / "again", init=shipped, steps=10, rate=1e-4))
    assert again.loss < learnt.loss + 0.02, (learnt.line(), again.line())


def run_graphs(path: Path, songs: torch.Tensor) -> torch.Tensor:
    return torch.cat([run_graph(path, song[None]) for song in songs])


@check
def losses_know_right_from_wrong(folder: Path) -> None:
    torch.manual_seed(2)
    vocals, band = (torch.randn(2, 2, 48, BINS, dtype=torch.complex64) for _ in range(2))
    vocals[:, :, :32] = 0
    mix = vocals + band
    half, nothing = torch.zeros(2, 4, 48, BINS), torch.zeros(2, 4, 48, BINS)
    half[:, 0::3] = 0.5
    right = nothing.clone()
    right[:, 0::3] = (power(vocals) / (power(vocals) + power(band)))[:, :, :]
    assert loss(right, vocals, band, mix) < loss(half, vocals, band, mix)
    assert leakage(power(vocals), power(vocals), power(mix)) == 0
    assert leakage(power(mix), power(vocals), power(mix)) > 1
    assert torch.allclose(apply(half, mix), 0.5 * mix)
    assert (sdr(vocals, vocals) > 60).all()
    silence = torch.zeros_like(mix)
    leaves = torch.zeros(2, 4, 48, BINS, requires_grad=True)
    loss(torch.sigmoid(leaves), silence, silence, silence).backward()
    assert torch.isfinite(leaves.grad).all()


@check
def operations_are_counted(folder: Path) -> None:
    by_name = {layer.name: layer for layer in layers(STUDY)}
    positions = 44100 / 1024 * 256
    assert abs(by_name["enter.1.conv"].operations / (24 * 24 * 9 * positions) - 1) < 0.01
    assert abs(by_name["up.0.conv"].operations / (40 * 24 * positions) - 1) < 0.01
    ours, theirs = (sum(layer.operations for layer in layers(each)) for each in (NetworkConfig(), STUDY))
    assert ours < 0.7 * theirs


QUICK: dict[str, Any] = {
    "device": "cpu",
    "workers": 0,
    "precision": "f32",
    "validation_examples": 2,
    "warm_up": 2,
    "threads": 1,
}


def small(folder: Path) -> Path:
    small_pools(folder / "pools", 2)
    return folder / "pools"


def folder_of(name: str) -> Path:
    import tempfile

    return Path(tempfile.mkdtemp(prefix=f"{name}-"))


@check
def a_stopped_run_ends_as_an_unstopped_one(folder: Path) -> None:
    options = TrainOptions(small(folder), folder / "whole", TINY, steps=6, batch=2, frames=32, **QUICK)
    train(options)
    stopped = replace(options, out=folder / "stopped")
    pid = os.fork()
    if pid == 0:  # a child that asks itself to stop in the middle of step 3
        from training import train as module

        learn = module.Run.learn

        def learn_and_stop(run: Any, batch: Any) -> float:
            if run.step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return learn(run, batch)

        module.Run.learn = learn_and_stop  # type: ignore[assignment, method-assign]
        try:
            train(stopped)
        except SystemExit as end:
            os._exit(int(end.code or 0))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert load(folder / "stopped" / "last.pt").step == 3
    train(stopped)
    whole, resumed = load(folder / "whole" / "last.pt"), load(folder / "stopped" / "last.pt")
    assert resumed.step == 6
    for name, values in whole.average.items():
        assert torch.equal(values, resumed.average[name]), name
    assert not np.isnan(resumed.best)


@check
def training_learns(folder: Path) -> None:
    options = TrainOptions(small(folder), folder / "run", TINY, steps=1, batch=4, frames=64, rate=5e-3, **QUICK)
    before = train(options)
    after = train(replace(options, steps=60))
    assert after.loss < before.loss - 0.1, (before.line(), after.line())


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)  # two that wait for each other on a busy machine take many times longer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        CHECKS[name](folder)


if __name__ == "__main__":
    main()

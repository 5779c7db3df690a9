"""One training run: from pools to a checkpoint, in a given number of steps or minutes, resumable after a kill.

`last.pt` is written every few minutes and at SIGTERM or Ctrl-C, `best.pt` whenever the validation loss was never
lower. A run that is started again with the same folder goes on from `last.pt` with the batches that come next.
"""

from __future__ import annotations

import copy
import ctypes
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from training.checkpoint import Saved, load, load_graph, save
from training.configuration import NetworkConfig
from training.feed import Feed
from training.hearing import Heard, hear
from training.loss import LossWeights, loss
from training.mixing import HOP, Batch, Mixing
from training.network import LiteNetwork, parameters, unfolded
from training.progress import duration
from training.schedule import Budget, keep, rate, strictness
from training.synthesis.sound import RATE
from training.validation import Validation, validate


@dataclass(frozen=True, slots=True)
class TrainOptions:
    pools: Path
    out: Path
    config: NetworkConfig = field(default_factory=NetworkConfig)
    steps: int | None = None
    minutes: float | None = None
    """Of work in all, those before a kill counted in. One of both is given."""
    batch: int = 12
    frames: int = 256
    """23 ms each."""
    rate: float = 2e-3
    warm_up: int = 150
    decay: float = 1e-3
    clip: float = 2.0
    """Longest gradient."""
    precision: str = "bf16"
    compile: bool = False
    """Whether the framework may compile network and loss into fewer passes; takes a minute or two at the start, and a
    C++ compiler."""
    device: str = "auto"
    threads: int = 2
    workers: int = 1
    seed: int = 0
    init: Path | None = None
    """A checkpoint or a graph whose (averaged) weights a new run begins with."""
    mixing: Mixing | None = None
    weights: LossWeights = field(default_factory=LossWeights)
    validate_minutes: float = 5.0
    save_minutes: float = 3.0
    validation_examples: int = 64


class Run:
    """Everything that changes while it learns."""

    def __init__(self, options: TrainOptions) -> None:
        self.options = options
        self.device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
        )
        torch.set_num_threads(options.threads)
        _keep_memory()
        torch.manual_seed(options.seed)
        self.step, self.seconds, self.best = 0, 0.0, float("inf")
        self.network = LiteNetwork(options.config)
        found = options.out / "last.pt"
        saved = load(found) if found.exists() else None
        if saved is not None and saved.config != options.config:
            raise ValueError(f"{found} is a run of another configuration: give another --out.")
        if saved is None and options.init is not None:
            self.network.load_state_dict(self._first_weights(options.init))
        self.network.to(self.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=options.rate, weight_decay=options.decay)
        self._value = torch.compile(self._loss, dynamic=False) if options.compile else self._loss
        total = options.steps or 10**9
        if saved is not None:
            self._restore(saved)
            total = options.steps or saved.total
        self.budget = Budget(total, None if options.minutes is None else options.minutes * 60)

    def _first_weights(self, path: Path) -> dict[str, torch.Tensor]:
        if path.suffix != ".onnx":
            return load(path).average
        options = self.options
        mixer = Feed(options.pools, options.frames, options.batch, options.seed, mixing=options.mixing).mixer()
        heard = hear(mixer.batch(options.seed, 0, 16), torch.device("cpu"))
        return unfolded(load_graph(path), heard.magnitudes).state_dict()

    def learn(self, batch: Batch) -> float:
        """One step; the loss before it."""
        options = self.options
        for group in self.optimiser.param_groups:
            group["lr"] = rate(self.step, self.budget.total, options.warm_up, options.rate)
        weights = options.weights
        weights = replace(weights, leakage=weights.leakage * strictness(self.step, self.budget.total))
        self.network.train()
        value = self._value(hear(batch, self.device), weights)
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()
        length = nn.utils.clip_grad_norm_(self.network.parameters(), options.clip)
        if torch.isfinite(length):
            self.optimiser.step()
            self._follow()
        self.step += 1
        return float(value.detach())

    def _loss(self, heard: Heard, weights: LossWeights) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bf16"):
            matrix = self.network(heard.magnitudes)
        return loss(matrix, heard.vocals, heard.accompaniment, heard.mix, weights)

    def _follow(self) -> None:
        stays = keep(self.step)
        with torch.no_grad():
            now, mean = self.network.state_dict(), self.average.state_dict()
            for name, values in mean.items():
                if values.dtype.is_floating_point:
                    values.lerp_(now[name], 1 - stays)
                else:
                    values.copy_(now[name])

    def store(self, name: str) -> None:
        saved = Saved(
            config=self.options.config,
            network=self.network.state_dict(),
            average=self.average.state_dict(),
            optimiser=self.optimiser.state_dict(),
            step=self.step,
            total=self.budget.total,
            seconds=self.seconds,
            best=self.best,
            seed=self.options.seed,
            random=torch.get_rng_state(),
        )
        save(self.options.out / name, saved)

    def _restore(self, saved: Saved) -> None:
        if saved.seed != self.options.seed:
            raise ValueError(f"The run in {self.options.out} has seed {saved.seed}.")
        self.network.load_state_dict(saved.network)
        self.average.load_state_dict(saved.average)
        self.optimiser.load_state_dict(saved.optimiser)
        self.step, self.seconds, self.best = saved.step, saved.seconds, saved.best
        torch.set_rng_state(saved.random)


def _keep_memory() -> None:
    """Large arrays are as a rule given back to the system at once, and every page of the next one is new, which
    costs more than filling it. Of the C library on Linux; elsewhere nothing happens."""
    if sys.platform == "linux":
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            library.mallopt(mmap_threshold, 32 << 20)  # more is refused
            library.mallopt(trim_threshold, 2**31 - 1)


def train(options: TrainOptions) -> Validation:
    """The last validation's figures."""
    if (options.steps is None) == (options.minutes is None):
        raise ValueError("A run needs a number of steps or of minutes.")
    options.out.mkdir(parents=True, exist_ok=True)
    run = Run(options)
    feed = Feed(options.pools, options.frames, options.batch, options.seed, options.workers, options.mixing)
    say(f"{parameters(run.network):,} parameters on {run.device}, from step {run.step}")
    validation = Validation.of(feed, options.validation_examples)
    mean, carried = 0.0, run.seconds
    began = step_began = validated = stored = time.monotonic()
    with stopping() as stopped, closing(feed.batches(run.step)) as batches:
        for batch in batches:
            if run.budget.over(run.step, run.seconds) or stopped():
                break
            value = run.learn(batch)
            mean = value if mean == 0 else mean + 0.02 * (value - mean)
            now = time.monotonic()
            run.seconds = carried + now - began
            run.budget.spend(run.step, now - step_began, run.seconds)
            if run.step in (1, 10) or run.step % 50 == 0:
                say(_line(run, mean))
            if now - validated > 60 * options.validate_minutes:
                _validated(run, validation)
                validated = time.monotonic()
            if time.monotonic() - stored > 60 * options.save_minutes:
                run.store("last.pt")
                stored = time.monotonic()
            step_began = time.monotonic()
    if stopped():
        run.store("last.pt")
        say(f"stopped at step {run.step}; the same command goes on from here")
        sys.exit(130)
    run.store("last.pt")
    figures = _validated(run, validation)
    run.store("last.pt")  # and it knows what was best
    return figures


def _validated(run: Run, validation: Validation) -> Validation:
    figures = validate(run.average, validation, run.device, run.options.weights)
    say(f"step {run.step}: {figures.line()}")
    if figures.loss < run.best:
        run.best = figures.loss
        run.store("best.pt")
    return figures


def _line(run: Run, mean: float) -> str:
    options, budget = run.options, run.budget
    heard = options.batch * (options.frames - 1) * HOP / RATE / max(budget.measured, 1e-6)
    return (
        f"step {run.step} of {budget.total}, loss {mean:.4f}, {1 / max(budget.measured, 1e-6):.2f} steps/s "
        f"({heard:.0f}x real time), {duration(budget.left(run.step, run.seconds))} left"
    )


@contextmanager
def stopping() -> Iterator[StopAsked]:
    """SIGTERM and Ctrl-C let the step under way come to its end."""
    asked = StopAsked()
    before = {number: signal.signal(number, asked.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopAsked:
    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> bool:
        return self._asked

    def ask(self, *_: object) -> None:
        self._asked = True


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

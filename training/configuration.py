"""What a network of `lite` looks like, without the framework that computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

BINS = 1024
"""Bins of a 4096-point spectrum at 44.1 kHz that the network sees: 0 Hz to 11 kHz."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The default is a quick network; see docs/training.md for why it is so, and for its operations."""

    features: Literal["roots", "logarithms"] = "roots"
    """What the magnitudes become: fourth roots of |L|, |R|, |M| and the likeness of L and R (a cue for what is mixed
    to the centre); or the logarithms of all four, each bin with a scale and a bias of its own."""
    fold: tuple[int, int] = (2, 8)
    """So many neighbouring (frames, bins) become channels, so that convolutions run on fewer places."""
    widths: tuple[int, ...] = (48, 80, 128, 160)
    """Channels by level, from the full resolution down."""
    strides: tuple[tuple[int, int], ...] = ((2, 2), (2, 2), (1, 2))
    """(frames, bins) from each level to the next."""
    enter: tuple[int, ...] = (1, 3)
    """Kernel sizes of the convolutions that begin the first level."""
    decode: tuple[int, ...] = (1, 2, 1)
    """Convolutions of each level on the way up."""
    skips: Literal["add", "concatenate"] = "add"
    residual: bool = True
    """Whether convolutions that keep their width are added to what they were given."""
    squeeze: int = 48
    """Channels in front of the recurrent middle; 0 for all of them."""
    hidden: int = 320
    """Of the recurrent middle, both directions together."""
    memory: int = 8
    """So many steps of the middle (of `middle_step` frames) it hears before and after, at least, and twice as many at
    most, so that what a moment becomes depends on its neighbourhood alone; 0: on everything."""
    leave: int = 1
    """Kernel size of the last convolution."""
    direct: bool = True
    """Whether the outputs also see, through a convolution of their own, what the first one saw."""
    mask_exponent: float = 1.0
    """Of the shipped masks. Below 1 they open a little: fewer holes in the voice for a little more of the band."""
    mask_shift: float = 0.0
    """Added to the shipped masks' logits: to the same end, and nothing is left to compute."""

    def __post_init__(self) -> None:
        levels = len(self.strides)
        if len(self.widths) != levels + 1 or len(self.decode) != levels:
            raise ValueError("A network has one width more than strides, and a count of convolutions a level.")
        if STEP % self.frames_step:
            raise ValueError(
                f"The engine gives a multiple of {STEP} frames; this network needs one of {self.frames_step}."
            )

    @property
    def frames_step(self) -> int:
        """It takes a multiple of so many frames."""
        return self.middle_step * max(1, self.memory)

    @property
    def middle_step(self) -> int:
        """Frames that become one step in the middle."""
        step = self.fold[0]
        for frames, _ in self.strides:
            step *= frames
        return step

    @property
    def positions(self) -> int:
        """Places along the frequency axis in the middle."""
        positions = BINS // self.fold[1]
        for _, bins in self.strides:
            positions = -(-positions // bins)
        return positions

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> NetworkConfig:
        def tuples(value: Any) -> Any:
            return tuple(tuples(each) for each in value) if isinstance(value, list | tuple) else value

        return cls(**{name: tuples(value) for name, value in said.items()})


STEP = 64
"""The engine pads to a multiple of so many frames (engine.models.lite.STEP)."""

STUDY = NetworkConfig(
    features="logarithms",
    fold=(1, 4),
    widths=(24, 40, 64, 96, 112),
    strides=((2, 2), (2, 2), (2, 2), (1, 2)),
    enter=(3, 3),
    decode=(1, 2, 2, 2),
    skips="concatenate",
    residual=False,
    squeeze=0,
    hidden=192,
    memory=0,
    leave=3,
    direct=False,
    mask_exponent=0.8,
)
"""The first network, of 2.06 M parameters."""

WIDE = replace(STUDY, memory=8)
"""The same, with a memory that ends: what the service ships."""

TINY = NetworkConfig(
    fold=(2, 16), widths=(8, 8, 8), strides=((2, 2), (2, 2)), decode=(1, 1), squeeze=4, hidden=16, memory=2
)
"""For tests."""

CONFIGURATIONS: Mapping[str, NetworkConfig] = {"wide": WIDE, "quick": NetworkConfig(), "study": STUDY, "tiny": TINY}

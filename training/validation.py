"""How well a network does on held-out synthetic songs while it learns."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from training.feed import Feed
from training.hearing import hear
from training.loss import LossWeights, apply, energy, loss, power, sdr, silent, windowed
from training.mixing import Batch
from training.network import LiteNetwork

SEED = 5
SIZE = 8
"""Examples at once."""


@dataclass(frozen=True, slots=True)
class Validation:
    """The same batches every time, and what the last look at them gave; in dB, medians over examples with both."""

    batches: tuple[Batch, ...]
    loss: float = float("inf")
    vocals: float = 0.0
    """SDR, above that of the mix."""
    accompaniment: float = 0.0
    leakage: float = 0.0
    """Of vocals where nobody sings, against the mix there."""

    @classmethod
    def of(cls, feed: Feed, examples: int) -> Validation:
        mixer = feed.mixer()
        return cls(tuple(mixer.batch(SEED, number, SIZE, held_out=True) for number in range(-(-examples // SIZE))))

    def line(self) -> str:
        return (
            f"validation loss {self.loss:.4f}, SDR over the mix: vocals {self.vocals:+.2f} dB, accompaniment "
            f"{self.accompaniment:+.2f} dB, vocals where nobody sings {self.leakage:.1f} dB"
        )


def validate(network: LiteNetwork, validation: Validation, device: torch.device, weights: LossWeights) -> Validation:
    network.eval()
    losses, vocals, accompaniment, leaked, sounded = [], [], [], 0.0, 0.0
    with torch.inference_mode():
        for batch in validation.batches:
            heard = hear(batch, device)
            matrix = network(heard.magnitudes)
            losses.append(float(loss(matrix, heard.vocals, heard.accompaniment, heard.mix, weights)))
            estimate = apply(matrix, heard.mix)
            both = (energy(heard.vocals) > 1e-3) & (energy(heard.accompaniment) > 1e-3)
            vocals.append((sdr(estimate, heard.vocals) - sdr(heard.mix, heard.vocals))[both])
            rest = heard.mix - estimate
            accompaniment.append((sdr(rest, heard.accompaniment) - sdr(heard.mix, heard.accompaniment))[both])
            mixed = power(heard.mix)
            where = silent(power(heard.vocals), mixed)
            leaked += float((windowed(power(estimate)) * where).sum())
            sounded += float((windowed(mixed) * where).sum())
    return Validation(
        validation.batches,
        sum(losses) / len(losses),
        float(torch.cat(vocals).median()),
        float(torch.cat(accompaniment).median()),
        float(10 * torch.log10(torch.tensor((leaked + 1e-9) / (sounded + 1e-9)))),
    )

"""Random numbers on a device, from nothing but a few numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Chance:
    """A stream of random numbers.

    Args:
        device: Where the numbers are drawn. CPUs and GPUs draw different ones.
        numbers: What the stream is a function of.
    """

    def __init__(self, device: torch.device, *numbers: int) -> None:
        seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
        self.device = device
        self.generator = torch.Generator(device=device).manual_seed(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Between ``low`` and ``high``, float32."""
        drawn = torch.rand(*shape, device=self.device, generator=self.generator)
        return low + (high - low) * drawn

    def normal(self, *shape: int) -> Tensor:
        """Of mean 0 and deviation 1, float32."""
        return torch.randn(*shape, device=self.device, generator=self.generator)

    def integers(self, below: int, *shape: int) -> Tensor:
        """From 0 on, int64."""
        return torch.randint(below, shape, device=self.device, generator=self.generator)

    def happens(self, probability: float, *shape: int) -> Tensor:
        """Bool, true with a probability."""
        return self.uniform(0, 1, *shape) < probability

    def one_of(self, weights: Tensor) -> Tensor:
        """(rows, choices) to (rows,): a choice for each row, by its weights; any if all are 0."""
        weights = weights + (weights.sum(1, keepdim=True) == 0)
        return torch.multinomial(weights, 1, generator=self.generator)[:, 0]

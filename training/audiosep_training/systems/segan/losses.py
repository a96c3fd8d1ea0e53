"""SEGAN's game: least squares for both players, and for the generator the error itself."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

#: Weight of the mean absolute error.
L1_WEIGHT = 100.0


def discriminator_loss(for_clean: Tensor, for_enhanced: Tensor) -> Tensor:
    """(batch, 1) each: clean speech should be called 1, enhanced speech 0."""
    return (for_clean - 1).square().mean() + for_enhanced.square().mean()


def generator_loss(for_enhanced: Tensor, enhanced: Tensor, clean: Tensor) -> Tensor:
    """Enhanced speech should pass for clean, and be near it.

    Args:
        for_enhanced: (batch, 1): the discriminator's verdict.
        enhanced: (batch, 1, samples), pre-emphasised as ``clean`` is.
        clean: (batch, 1, samples).
    """
    return (for_enhanced - 1).square().mean() + L1_WEIGHT * F.l1_loss(enhanced, clean)

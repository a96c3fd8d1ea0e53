"""What CLIPSep and CLIPSep-NIT minimise: masks of all sources of a mixture at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from audiosep_training.systems.clipsep.network import ClipSep, ClipSepNit

_LEAST_WEIGHT, _LARGEST_WEIGHT = 1e-3, 10.0
#: How much of the spectrum the masks for noise may take up for nothing, and what more costs.
_FREE_NOISE, _NOISE_COST = 0.25, 0.1
_FLOOR = 1e-10


def clipsep_loss(net: ClipSep, sources: Tensor, conditions: Tensor) -> Tensor:
    """Weighted cross-entropy with the ideal binary masks.

    Args:
        net: For :class:`ClipSepNit` the loss is that of noise-invariant training.
        sources: (batch, sources, samples), as long as :meth:`ClipSep.hear` asks for; their sum
            is the mixture.
        conditions: (batch, sources, 512): what each source is asked by.

    Returns:
        A scalar.
    """
    count = sources.shape[1]
    mixture, features = net.hear(sources.sum(1))
    logits = torch.cat([net.logits(features, conditions[:, n]) for n in range(count)], 1)
    weight = torch.log1p(mixture).clamp(_LEAST_WEIGHT, _LARGEST_WEIGHT)
    ideal = ideal_masks(net, sources, mixture)
    if isinstance(net, ClipSepNit):
        return _noise_invariant(logits, net.noise_logits(features, conditions), ideal, weight)
    masks = torch.sigmoid(logits)
    return _cross_entropy(masks, ideal, weight).mean()


def ideal_masks(net: ClipSep, sources: Tensor, mixture: Tensor) -> Tensor:
    """1 where a source has more than half the mixture's magnitude: (batch, sources, rows, frames).

    Args:
        net: Whose rows they are in.
        sources: (batch, sources, samples).
        mixture: (batch, 1, rows, frames), as :meth:`ClipSep.hear` gives it.
    """
    rows = [net.log_rows(net.spectra.analyse(source)) for source in sources.unbind(1)]
    return (torch.cat(rows, 1) > 0.5 * mixture).to(mixture.dtype)


def _noise_invariant(logits: Tensor, noise: Tensor, ideal: Tensor, weight: Tensor) -> Tensor:
    """The loss of the better of the two ways to give each source one mask for noise."""
    masks, noises = torch.sigmoid(logits), torch.sigmoid(noise)
    ways = []
    for order in (noises, noises.flip(1)):
        # A mask and its noise together are the source; never more than all of the mixture.
        together = (masks + order).clamp(max=1)
        ways.append(_cross_entropy(together, ideal, weight).mean((1, 2, 3)))
    taken = (noises.sum(1).mean() - _FREE_NOISE).relu()
    return torch.minimum(*ways).mean() + _NOISE_COST * taken


def _cross_entropy(masks: Tensor, ideal: Tensor, weight: Tensor) -> Tensor:
    return F.binary_cross_entropy(masks, ideal, weight.expand_as(ideal), reduction="none")

"""What a training minimises; all take waveforms (batch, 1, samples) float32 and give a scalar."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from audiosep_core.network import SeparatorNetwork


def waveform_loss(net: SeparatorNetwork, estimate: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the waveform (AudioSep, section III-D)."""
    return (estimate - target).abs().mean()


def log_loss(net: SeparatorNetwork, estimate: Tensor, target: Tensor) -> Tensor:
    """Log of the L1 error on the waveform, and of its root mean square, both over the target's.

    The logarithm weighs quiet and loud, easy and hard examples alike, as SDRi does.
    """
    error = estimate - target
    absolute = error.abs().mean((1, 2)) / target.abs().mean((1, 2)).clamp_min(1e-5)
    square = error.square().mean((1, 2)) / target.square().mean((1, 2)).clamp_min(1e-9)
    return 0.5 * torch.log(absolute + 0.02).mean() + 0.25 * torch.log(square + 0.001).mean()


def magnitude_loss(net: SeparatorNetwork, estimate: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the magnitude spectrogram (LASS-Net, section 2.2).

    The estimate's is that of its waveform, which overlapping frames make slightly smoother than
    mask times mixture.
    """
    return (net.spectrum(estimate[:, 0]).abs() - net.spectrum(target[:, 0]).abs()).abs().mean()


#: Loss by the name it has in ``optimiser.loss``.
LOSSES: dict[str, Callable[[SeparatorNetwork, Tensor, Tensor], Tensor]] = {
    "l1": waveform_loss,
    "log": log_loss,
    "magnitude": magnitude_loss,
}

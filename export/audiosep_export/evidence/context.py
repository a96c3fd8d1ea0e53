"""How much sound around a window its masks really depend on."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from audiosep_core.model.config import MAGNITUDE_FLOOR
from audiosep_core.model.network import SeparatorNetwork

#: A tenth of what offline separation promises against the whole-file result.
_TOLERANCE = 1e-5
_CONDITIONS = 2


@torch.no_grad()
def needed_context(net: SeparatorNetwork, tolerance: float = _TOLERANCE) -> float:
    """The shortest context with which windows give the whole-file result.

    Compares the target's spectrum in the middle of a signal of noise bursts, once with all of
    the receptive field around it and once cut to a context.

    Args:
        net: The network in evaluation mode.
        tolerance: Largest deviation of the target's spectrum over the mixture's largest
            magnitude.

    Returns:
        Seconds to either side, a whole number of the network's cells.
    """
    config = net.config
    cell = config.frame_multiple
    cell_seconds = cell * config.hop_length / config.sample_rate
    rng = np.random.default_rng(0)
    # What lies beyond the receptive field cannot matter.
    middle = -(-config.receptive_frames // cell)
    cells = 2 * middle + 1
    samples = cells * cell * config.hop_length - 1
    envelope = np.repeat(10 ** rng.uniform(-3, 0, samples // 4000 + 1), 4000)[:samples]
    mixture = torch.from_numpy((0.3 * envelope * rng.standard_normal(samples)).astype(np.float32))
    magnitude = net.spectrum(mixture[None]).abs().clamp_min(MAGNITUDE_FLOOR)[:, None]
    conditions = torch.from_numpy(rng.standard_normal((_CONDITIONS, config.condition_size))).float()
    magnitude = magnitude.expand(_CONDITIONS, -1, -1, -1)
    whole = _target(net, magnitude, F.normalize(conditions), middle, middle)
    for context in range(1, middle):
        cut = _target(net, magnitude, F.normalize(conditions), middle, context)
        if (whole - cut).abs().max() <= tolerance * magnitude.max():
            return context * cell_seconds
    return middle * cell_seconds


def _target(
    net: SeparatorNetwork,
    magnitude: torch.Tensor,
    conditions: torch.Tensor,
    middle: int,
    context: int,
) -> torch.Tensor:
    """The real and imaginary factor of the middle cell times its magnitude."""
    cell = net.config.frame_multiple
    window = magnitude[:, :, (middle - context) * cell : (middle + context + 1) * cell]
    mask = net.mask(window, conditions)[:, :, context * cell : (context + 1) * cell]
    return mask[:, :1] * mask[:, 1:] * magnitude[:, :, middle * cell : (middle + 1) * cell]

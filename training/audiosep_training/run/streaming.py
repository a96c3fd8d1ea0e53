"""A step of training a streaming network, the same under Lightning and on a bare device.

What a stream has behind it, its level and what it remembers, is made up for the examples, which
are short: half of them start at the level of some past, and half with the memory of another
example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from audiosep_core.model.waveform_network import WaveformNetwork
from audiosep_training.config.schema import OptimiserConfig
from audiosep_training.mixer.chance import Chance
from audiosep_training.run.losses import StreamingLoss, log_spectral_loss

_Tensors = tuple[Tensor, ...] | list[Tensor]

_WITH_A_LEVEL, _WITH_A_MEMORY = 0.5, 0.5
#: Of the level of the past over the example's, as the deviation of its power's decimal logarithm.
_LEVEL_DEVIATION = 0.6
#: The average keeps (1 + n) / (this + n) of itself at its step n, until that exceeds its decay.
_AVERAGE_WARMUP = 10


def step_loss(
    separator: WaveformNetwork,
    mixture: Tensor,
    target: Tensor,
    condition: Tensor,
    bandwidth: Tensor,
    past: Tensor,
    chance: Chance,
) -> tuple[StreamingLoss, Tensor]:
    """The loss of a batch, and the memory that the next one may start with.

    Args:
        separator: With the network that is trained.
        mixture: (batch, samples).
        target: (batch, samples).
        condition: (batch, condition_size).
        bandwidth: (batch,), as :func:`log_spectral_loss` takes it.
        past: (batch, recurrent) memory that the batch before left; zeros at first.
        chance: What is drawn from.
    """
    count = len(mixture)
    level = 10 ** (chance.normal(count) * _LEVEL_DEVIATION)
    prior = level * chance.happens(_WITH_A_LEVEL, count)
    remembered = past * chance.happens(_WITH_A_MEMORY, count, 1)
    separated = separator(mixture, condition, prior, remembered)
    with torch.autocast(mixture.device.type, enabled=False):
        loss = log_spectral_loss(separator, separated, mixture, target, bandwidth)
    # To another example each, or a mixture would remember itself.
    after = separated.past.detach().float().nan_to_num().roll(1, 0)
    return loss, after


def make_optimiser(
    parameters: Iterable[nn.Parameter], chosen: OptimiserConfig, fused: bool = False
) -> torch.optim.AdamW:
    """AdamW; biases and norms do not decay."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [each for each in trained if each.ndim > 1]},
        {"params": [each for each in trained if each.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=chosen.rate,
        betas=(chosen.betas[0], chosen.betas[1]),
        weight_decay=chosen.weight_decay,
        amsgrad=chosen.amsgrad,
        fused=fused,
    )


def average_weights(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """What :class:`torch.optim.swa_utils.AveragedModel` averages with: exponentially."""

    @torch.no_grad()
    def update(averaged: _Tensors, current: _Tensors, count: Tensor | int) -> None:
        kept = min(decay, (1 + int(count)) / (_AVERAGE_WARMUP + int(count)))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - kept)
        else:
            for one, other in zip(averaged, current, strict=True):
                one.copy_(other)

    return update

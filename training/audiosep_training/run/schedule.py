"""The learning rate as a function of the step alone, so that a resumed run needs no state of it."""

from __future__ import annotations

import math

from audiosep_training.config.schema import OptimiserConfig

_STAIRS = (0.001, 0.01, 0.1, 1.0)


def rate_at(step: int, optimiser: OptimiserConfig, steps: int) -> float:
    """Learning rate of step ``step`` (from 0) of ``steps``.

    "stairs" is the released code's ``constant_warm_up``; "linear" and "cosine" rise over the
    warm-up. All fall linearly to ``lowest`` from there to step ``lowest_at``, if that is set. Over
    the last ``decay_steps``, if there are any, they fall to zero: "cosine" as half a cosine, the
    others linearly.
    """
    warmup = optimiser.warmup_steps
    if not warmup:
        factor = 1.0
    elif optimiser.schedule == "stairs":
        factor = _STAIRS[min(step // warmup, len(_STAIRS) - 1)]
    else:
        factor = min(1.0, (step + 1) / warmup)
    if optimiser.lowest_at:
        done = (step - warmup) / max(1, optimiser.lowest_at - warmup)
        factor *= 1 - (1 - optimiser.lowest) * min(1.0, max(0.0, done))
    if optimiser.decay_steps:
        left = min(1.0, max(0.0, (steps - step) / optimiser.decay_steps))
        factor = min(factor, half_cosine(left) if optimiser.schedule == "cosine" else left)
    return optimiser.rate * factor


def half_cosine(left: float) -> float:
    """From 1 to 0 with the share of a decay that is left, level at both ends."""
    return 0.5 - 0.5 * math.cos(math.pi * left)

"""The learning rate as a function of the step alone, so that a resumed run needs no state of it."""

from __future__ import annotations

from training.config import OptimiserConfig

_STAIRS = (0.001, 0.01, 0.1, 1.0)


def rate_at(step: int, optimiser: OptimiserConfig, steps: int) -> float:
    """Learning rate of step ``step`` (from 0) of ``steps``.

    "stairs" is the released code's ``constant_warm_up``; "linear" rises over the warm-up. Both
    fall to zero linearly over the last ``decay_steps``, if there are any.
    """
    warmup = optimiser.warmup_steps
    if not warmup:
        factor = 1.0
    elif optimiser.schedule == "stairs":
        factor = _STAIRS[min(step // warmup, len(_STAIRS) - 1)]
    else:
        factor = min(1.0, (step + 1) / warmup)
    if optimiser.decay_steps:
        factor = min(factor, max(0.0, (steps - step) / optimiser.decay_steps))
    return optimiser.rate * factor

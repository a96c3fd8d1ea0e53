"""The running level that magnitudes are divided by before a streaming network sees them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: Power below which a frame counts as silence: 100 dB under the magnitude of a full-scale sine.
_LEAST_POWER = 1e-14


class RunningLevel:
    """Divides frames by the root of their mean power over the last seconds.

    The mean is exponential and starts with the first frame instead of with silence (its weights
    are divided by their sum, as Adam's moments are), so that a gain of the whole mixture changes
    nothing from the first frame on. It knows the past only, and the same frames in other
    portions give the same bits.

    Args:
        seconds: Time constant of the mean.
        frame_rate: Frames a second.
    """

    def __init__(self, seconds: float, frame_rate: int) -> None:
        self._keep = math.exp(-1 / (seconds * frame_rate))
        #: Weighted sum of the powers, and of the weights.
        self._power = self._weight = 0.0

    @property
    def memory(self) -> tuple[float, float]:
        """The weighted sum of the powers so far, and of the weights; can be set."""
        return self._power, self._weight

    @memory.setter
    def memory(self, value: tuple[float, float]) -> None:
        self._power, self._weight = value

    def push(self, magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
        """(frames, bins) magnitudes to the same, at a normal level."""
        new, levels = 1 - self._keep, np.empty((len(magnitude), 1), np.float32)
        for frame, row in enumerate(magnitude):
            # In float64, as the squares of quiet frames are tiny.
            power = float(np.square(row, dtype=np.float64).sum()) / len(row)
            self._power = self._keep * self._power + new * power
            self._weight = self._keep * self._weight + new
            levels[frame] = math.sqrt(max(self._power / self._weight, _LEAST_POWER))
        normal: NDArray[np.float32] = magnitude / levels
        return normal

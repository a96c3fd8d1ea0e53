"""What lies above the model's band: it follows the masks of the band's top octave."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiosep_core.signal.fifo import Fifo


class TopBand:
    """Gains for what lies above the model's band, from the mask's mean over its top octave.

    Args:
        rows: Number of signals that get a gain.
        frames_per_sample: Frames that one sample of the caller's rate advances.
        frame, sample: Where the signal begins.
    """

    def __init__(
        self, rows: int, frames_per_sample: float, frame: int = 0, sample: int = 0
    ) -> None:
        self._step = frames_per_sample
        self._frames = Fifo((rows,))
        self._first = frame
        self._sample = sample

    def push(self, gains: NDArray[np.float32]) -> None:
        """Gains (rows, frames) of the next frames."""
        self._frames.push(gains)

    def gains(self, count: int) -> NDArray[np.float32]:
        """Gains (rows, count) of the next samples, interpolated between frames."""
        position = (self._sample + np.arange(count)) * self._step
        held = self._frames.peek(len(self._frames))
        index = self._first + np.arange(held.shape[-1])
        gains = np.stack([np.interp(position, index, row) for row in held]).astype(np.float32)
        self._sample += count
        passed = min(int(self._sample * self._step) - self._first, len(self._frames) - 1)
        if passed > 0:
            self._frames.drop(passed)
            self._first += passed
        return gains

"""Levels that change without a click."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Frames over which a level moves: 10 ms at 48 kHz.
_FRAMES = 480


class Ramp:
    """Weights for the rows of a signal; new weights are reached over 480 frames.

    Args:
        levels: One for each row.
    """

    def __init__(self, levels: tuple[float, ...]) -> None:
        self.jump(levels)

    def jump(self, levels: tuple[float, ...]) -> None:
        """Have other levels at once."""
        self._goal = np.array(levels, np.float32)
        self._start = self._goal
        self._left = 0

    def aim(self, levels: tuple[float, ...]) -> None:
        """Move to other levels from now on."""
        self._start = self._level(_FRAMES - self._left)
        self._goal = np.array(levels, np.float32)
        self._left = _FRAMES

    def blend(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """(rows, channels, n) to their weighted sum (channels, n)."""
        moving = min(self._left, rows.shape[-1])
        out = _weigh(self._goal, rows[..., moving:])
        if not moving:
            return out
        done = _FRAMES - self._left
        levels = np.stack([self._level(step) for step in range(done + 1, done + moving + 1)], -1)
        self._left -= moving
        begun = np.einsum("rn,rcn->cn", levels, rows[..., :moving])
        return np.concatenate([begun, out], -1)

    def _level(self, step: int) -> NDArray[np.float32]:
        share = np.float32(step / _FRAMES)
        return self._start + share * (self._goal - self._start)


def _weigh(levels: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    # A row at full level alone stays as it is, to the bit.
    out = levels[0] * rows[0] if levels[0] != 1 else rows[0].copy()
    for level, row in zip(levels[1:], rows[1:], strict=True):
        if level:
            out += level * row
    return out

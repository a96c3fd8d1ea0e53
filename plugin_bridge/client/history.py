"""The last of what went in: for a server that takes the place of another, or of an answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class History:
    """Holds the last frames that were pushed, in a ring.

    Args:
        channels: Of the sound.
        frames: How many are held at least, 1 or more, beside the block that was pushed last.
    """

    def __init__(self, channels: int, frames: int) -> None:
        self._frames = frames
        self._ring = np.zeros((channels, frames), np.float32)
        self._held = 0
        #: Where the next frame goes.
        self._next = 0

    def __len__(self) -> int:
        return self._held

    def push(self, block: NDArray[np.float32]) -> None:
        """Append (channels, n); makes room where it is the longest block so far."""
        count = block.shape[1]
        if self._frames + count > self._ring.shape[1]:
            self._grow(self._frames + count)
        size = self._ring.shape[1]
        first = min(count, size - self._next)
        self._ring[:, self._next : self._next + first] = block[:, :first]
        self._ring[:, : count - first] = block[:, first:]
        self._next = (self._next + count) % size
        self._held = min(self._held + count, size)

    def last(self, count: int, ago: int = 0) -> NDArray[np.float32]:
        """(channels, count): a copy of frames, the last ones or some before.

        Args:
            count: How many.
            ago: Frames behind them; with ``count`` at most as many as are held.
        """
        end = self._next - ago
        begin = end - count
        if begin < 0 < end:
            return np.concatenate([self._ring[:, begin:], self._ring[:, :end]], 1)
        if begin < 0:
            size = self._ring.shape[1]
            begin, end = begin + size, end + size
        return self._ring[:, begin:end].copy()

    def clear(self) -> None:
        """Forget all."""
        self._held = self._next = 0

    def _grow(self, frames: int) -> None:
        held = self.last(self._held)
        self._ring = np.zeros((len(held), frames), np.float32)
        self._ring[:, : self._held] = held
        self._next = self._held % frames

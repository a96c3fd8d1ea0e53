"""Stems and residual as whole numbers that sum to the mixture exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiosep_core.signal.fifo import Fifo

_WORD_BITS = 32


class Rounding:
    """Rounds stems to the samples of a file, and takes the residual from what was rounded.

    Args:
        channels: Of the mixture and of each stem.
        bits: Of a sample of the files.
    """

    def __init__(self, channels: int, bits: int) -> None:
        self._mixture = Fifo((channels,), (), np.int64)
        self._scale = 2.0 ** (bits - 1)
        self._unused = _WORD_BITS - bits

    def push(self, mixture: NDArray[np.int32] | NDArray[np.float32]) -> None:
        """Take (channels, n) of the mixture: int32 with full scale 2**31, or float32."""
        if mixture.dtype == np.int32:
            # Rounds where the mixture has more bits than the stems.
            half = (1 << self._unused) >> 1
            whole = (mixture.astype(np.int64) + half) >> self._unused
        else:
            whole = np.rint(mixture.astype(np.float64) * self._scale).astype(np.int64)
        self._mixture.push(whole)

    def pop(self, stems: NDArray[np.float32]) -> NDArray[np.int32]:
        """Round (stems + 1, channels, n), the residual last: int32 with full scale 2**31.

        What is beyond full scale is cut off; the residual takes it up as far as it can.
        """
        count = stems.shape[-1]
        rounded = np.rint(stems[:-1].astype(np.float64) * self._scale).astype(np.int64)
        rounded = self._cut(rounded)
        residual = self._cut(self._mixture.peek(count) - rounded.sum(0))
        self._mixture.drop(count)
        return (np.concatenate([rounded, residual[None]]) << self._unused).astype(np.int32)

    def _cut(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        most = int(self._scale)
        return np.clip(values, -most, most - 1)

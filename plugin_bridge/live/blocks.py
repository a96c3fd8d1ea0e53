"""What a block of a live stream must be."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiosep_core.arrays import floating

#: Samples beyond this (120 dB over full scale) are broken: their power overflows.
_LARGEST = 1e6


def as_block(block: ArrayLike, channels: int) -> NDArray[np.float32]:
    """A block of a stream however it lies in memory: a view, another float type, a list.

    Args:
        block: (channels, n) floating point; of a mono stream (n,), too. n may be 0.
        channels: Of the stream.

    Returns:
        (channels, n) float32, contiguous; ``block`` itself where it is that.

    Raises:
        TypeError: It is not floating point.
        ValueError: It has other channels.
    """
    array = floating(block)
    if array.ndim == 1 and channels == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[0] != channels:
        turned = array.ndim == 2 and array.shape[1] == channels
        remedy = "give its .T" if turned else "other channels need a stream of their own"
        raise ValueError(f"a block must be ({channels}, frames), not {array.shape}; {remedy}")
    if array.dtype != np.float32:
        # What is too large for float32 counts as broken.
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    return np.ascontiguousarray(array)


def like(block: ArrayLike, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """What came out for a block, (..., channels, n), without channels if the block had none."""
    return rows[..., 0, :] if np.ndim(block) == 1 else rows


def is_broken(block: NDArray[np.float32]) -> bool:
    """Whether a block holds NaN, infinity or samples beyond 1e6."""
    return not is_within(block, _LARGEST)


def is_within(block: NDArray[np.float32], most: float) -> bool:
    """Whether all samples are numbers of that magnitude at most.

    Args:
        block: Of any shape.
        most: The magnitude.
    """
    # One sum tells it of nearly every block, in a fraction of the time. NaN compares as false.
    if np.vdot(block, block) <= most * most:
        return True
    return bool(np.abs(block).max(initial=0) <= most)

"""What a block of a live stream must be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Samples beyond this (120 dB over full scale) are broken: their power overflows.
_LARGEST = 1e6


def check_block(block: NDArray[np.float32], channels: int) -> None:
    """Refuse what is no block of a stream.

    Args:
        block: (channels, n) float32, contiguous, n of at least 1.
        channels: Of the stream.

    Raises:
        TypeError: The block is not an array of float32.
        ValueError: The block has another shape, is empty or not contiguous.
    """
    if not isinstance(block, np.ndarray) or block.dtype != np.float32:
        kind = block.dtype if isinstance(block, np.ndarray) else type(block).__name__
        raise TypeError(f"a block must be an array of float32, not {kind}")
    if block.ndim != 2 or block.shape[0] != channels:
        raise ValueError(
            f"a block must be ({channels}, frames), not {block.shape}; a stream with "
            "other channels needs a separator of its own"
        )
    if not block.shape[1]:
        raise ValueError("a block must have at least one frame, not none")
    if not block.flags.c_contiguous:
        raise ValueError("a block must be contiguous; give numpy.ascontiguousarray(block)")


def is_broken(block: NDArray[np.float32]) -> bool:
    """Whether a block holds NaN, infinity or samples beyond 1e6."""
    # NaN compares as false.
    return not np.abs(block).max() <= _LARGEST

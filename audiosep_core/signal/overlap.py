"""Queries whose masks overlap share what both claim."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def repeats(conditions: NDArray[np.float32]) -> NDArray[np.float32]:
    """How often each of (queries, condition_size) embeddings is among them: (queries,)."""
    _, place, count = np.unique(conditions, axis=0, return_inverse=True, return_counts=True)
    return count[place.reshape(-1)].astype(np.float32)


def shared(masks: NDArray[np.float32]) -> NDArray[np.float32]:
    """(queries, frames, bins) magnitude masks, brought down where they sum to more than one.

    Each keeps its part of the sum, so that no sound comes out twice, and the residual never holds
    one turned over. What a single query claims stays as it is.
    """
    if len(masks) == 1:
        return masks
    return masks / np.maximum(masks.sum(0), 1)

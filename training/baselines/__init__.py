"""The paper's comparison systems, each a callable that separates like every other.

``separate(mixture, sample_rate, query)`` takes (channels, samples) float32 and a text, and gives
(channels, samples) float32: the target. What is done and what is not: ``audiosep train --configs``.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Baseline(Protocol):
    """A system to compare with."""

    def separate(
        self, mixture: NDArray[np.float32], sample_rate: int, query: str
    ) -> NDArray[np.float32]:
        """The part of a mixture that a query asks for, same shape."""

"""Changes that wait for their frame."""

from __future__ import annotations

import bisect
import dataclasses

import numpy as np
from numpy.typing import NDArray

from audiosep_core.settings import Delta

#: Changes that may wait in one stream.
MOST_SCHEDULED = 4096


@dataclasses.dataclass(eq=False)
class Scheduled:
    """A change and the frame of the mixture at which it begins.

    Attributes:
        delta: What changes.
        embeddings: (queries, condition_size) of its queries; None where these stay.
        position: The frame that was asked for.
        began: The frame at which it is heard, once that frame has come in.
        turn: Counts those that have begun: one that takes the place of others may be heard at
            their frame.
    """

    delta: Delta
    embeddings: NDArray[np.float32] | None
    position: int
    began: int | None = None
    turn: int = 0


class Schedule:
    """Changes in the order of their frames; those of one frame in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: list[Scheduled] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, scheduled: Scheduled) -> None:
        """Let one wait.

        Raises:
            ValueError: Too many wait already.
        """
        if len(self._waiting) >= MOST_SCHEDULED:
            raise ValueError(
                f"{MOST_SCHEDULED} changes wait for their position already; send changes as their "
                "time comes, or cancel some"
            )
        bisect.insort(self._waiting, scheduled, key=lambda other: other.position)

    def remove(self, scheduled: Scheduled) -> bool:
        """Take one back; false if it does not wait."""
        if scheduled not in self._waiting:
            return False
        self._waiting.remove(scheduled)
        return True

    def due(self, before: int | None = None) -> Scheduled | None:
        """Take out the first one, if it begins before a frame; None takes any."""
        if not self._waiting or (before is not None and self._waiting[0].position >= before):
            return None
        return self._waiting.pop(0)

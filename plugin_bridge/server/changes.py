"""Changes of a stream on their way: prepared, and waiting for their position."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from plugin_bridge.live.engine import StreamingSeparator
from plugin_bridge.live.schedule import Scheduled
from plugin_bridge.protocol.request import StreamDelta


@dataclasses.dataclass(frozen=True)
class PreparedChange:
    """A CHANGE once its queries are encoded.

    Attributes:
        delta: What changes.
        embeddings: (queries, condition_size) of its queries; None where these stay.
        engine: In place of the present one, for another mode; None for the same.
    """

    delta: StreamDelta
    embeddings: NDArray[np.float32] | None = None
    engine: StreamingSeparator | None = None


@dataclasses.dataclass(eq=False)
class PendingChange:
    """A change that is not in effect yet.

    Attributes:
        sequence: Of its message.
        position: Frame of the mixture at which it is to be heard; 0 until it is known where the
            next one lies.
        ready: Done when its queries are encoded.
        scheduled: Where the engine keeps it, once it is ready.
    """

    sequence: int
    position: int
    ready: Future[PreparedChange]
    scheduled: Scheduled | None = None

    @property
    def waits_for_input(self) -> bool:
        """Whether it is about more than settings, and so begins when its frame comes in."""
        prepared = self.ready.result()
        return prepared.engine is not None or prepared.delta.contract is not None

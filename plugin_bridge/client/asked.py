"""What is asked of a stream: what its server has confirmed, and the changes on their way."""

from __future__ import annotations

import dataclasses
import functools

from plugin_bridge.protocol.messages import Contract
from plugin_bridge.protocol.request import StreamDelta, StreamRequest


@dataclasses.dataclass
class PendingDelta:
    """A change that was asked for and is neither confirmed nor refused.

    Attributes:
        delta: What changes.
        position: Frame of the mixture, on the time line of the origin, at which it is heard.
        sequence: Number of the message that said it on the present connection; None until then.
    """

    delta: StreamDelta
    position: int
    sequence: int | None = None


class Asked:
    """What holds, and what was asked for and is neither confirmed nor refused.

    Args:
        request: What the stream was opened with.

    Attributes:
        confirmed: What the server has confirmed.
        pending: Changes on their way, in the order in which they were asked for.
        refused: What the server said to changes that it refused, until somebody is told.
    """

    def __init__(self, request: StreamRequest) -> None:
        self.confirmed = request
        self.pending: list[PendingDelta] = []
        self.refused: list[Exception] = []
        #: What held at the first frame of the past, and what was confirmed since.
        self._held = request
        self._told: list[PendingDelta] = []

    def wish(self) -> StreamRequest:
        """What is confirmed, and the changes on their way folded in, each at its position."""
        deltas = (item.delta for item in sorted(self.pending, key=lambda item: item.position))
        return functools.reduce(StreamRequest.changed, deltas, self.confirmed)

    @property
    def contract(self) -> Contract:
        """That of :meth:`wish`, at once: it is looked at for every block."""
        for item in reversed(self.pending):
            if item.delta.contract:
                return item.delta.contract
        return self.confirmed.contract

    def add(self, delta: StreamDelta, position: int) -> PendingDelta:
        """Ask for a change at a frame.

        Raises:
            ValueError: The number of stems would change.
        """
        # No change on its way changes whether it may.
        self.confirmed.changed(delta)
        item = PendingDelta(delta, position)
        self.pending.append(item)
        return item

    def confirm(self, sequence: int, position: int) -> None:
        """A change took effect at a frame."""
        item = self._settled(sequence)
        self.confirmed = self.confirmed.changed(item.delta)
        if self._told:
            # One that took the place of others is heard at their frame, and holds instead of them.
            position = max(position, self._told[-1].position)
        self._told.append(PendingDelta(item.delta, position))

    def refuse(self, sequence: int, error: Exception) -> None:
        """A change is as if it had not been asked for."""
        self._settled(sequence)
        self.refused.append(error)

    def hold(self, position: int) -> None:
        """The past begins with a frame: what was confirmed up to it is what held there."""
        while self._told and self._told[0].position <= position:
            self._held = self._held.changed(self._told.pop(0).delta)

    def rewind(self, position: int) -> StreamRequest:
        """A render goes back to a frame: what held there; the changes since are to be said again.

        A contract that held meanwhile is of no concern to it.
        """
        self.hold(position)
        since = [
            PendingDelta(StreamDelta(item.delta.settings), item.position)
            for item in self._told
            if item.delta.settings.named()
        ]
        self.pending = since + self.pending
        self._told.clear()
        self._held = self.confirmed = dataclasses.replace(self._held, contract="render")
        return self._held

    def unsay(self) -> None:
        """The changes on their way have to be said on another connection."""
        for item in self.pending:
            item.sequence = None

    def restart(self) -> None:
        """All sound is forgotten: positions of changes counted from what has ended."""
        self._held = self.confirmed
        self._told.clear()
        self.pending.sort(key=lambda item: item.position)
        for item in self.pending:
            item.position = 0

    def _settled(self, sequence: int) -> PendingDelta:
        item = next(item for item in self.pending if item.sequence == sequence)
        self.pending.remove(item)
        return item

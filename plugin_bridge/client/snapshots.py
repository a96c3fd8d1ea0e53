"""What a server's network remembered, for a server that takes the place of another."""

from __future__ import annotations

import dataclasses
import struct

#: What a snapshot begins with: origin and position.
_BEGIN = struct.Struct("<QQ")
#: Of those that are ahead of what was answered.
_MOST_AHEAD = 8


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One, as it came; what it holds is the server's business.

    Attributes:
        origin: Frame of the time line at which a stream begins that goes on with it.
        position: The first frame that such a stream gives as the one before did.
        data: All of it.
    """

    origin: int
    position: int
    data: bytes


class Snapshots:
    """The last that came of one stream, in the order of their positions."""

    def __init__(self) -> None:
        self._kept: list[Snapshot] = []

    def add(self, data: bytes) -> None:
        """Keep one; what is no snapshot is of no use and is left."""
        if len(data) >= _BEGIN.size:
            origin, position = _BEGIN.unpack_from(data)
            self._kept.append(Snapshot(origin, position, data))
            del self._kept[:-_MOST_AHEAD]

    def latest(self, before: int) -> Snapshot | None:
        """The last one whose position is at most a frame; older ones are forgotten."""
        usable = [kept for kept in self._kept if kept.position <= before]
        if usable:
            del self._kept[: self._kept.index(usable[-1])]
        return usable[-1] if usable else None

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

"""The streams of a client, and what they need to go on over another connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from plugin_bridge.client.asyncio.link import AsyncLink


class Kept(Protocol):
    """What the keeper must know of a stream."""

    reconnects: int

    async def close(self) -> None:
        """End the stream."""


class AsyncKeeper:
    """Knows the streams of a client; each looks after its connection in a task of its own.

    Args:
        connect: Makes a connection; may fail.
        patience: Seconds for which a render waits for another server when it has lost one.

    Attributes:
        connect, patience: These.
        streams: Those that are open.
    """

    def __init__(self, connect: Callable[[], Awaitable[AsyncLink]], patience: float) -> None:
        self.connect = connect
        self.patience = patience
        self.streams: list[Kept] = []
        #: Of streams that are closed.
        self._reconnects = 0

    @property
    def reconnects(self) -> int:
        """How often a stream went on over another connection after it lost one."""
        return self._reconnects + sum(stream.reconnects for stream in self.streams)

    def add(self, stream: Kept) -> None:
        """A stream is open."""
        self.streams.append(stream)

    def forget(self, stream: Kept) -> None:
        """A stream is closed."""
        if stream in self.streams:
            self.streams.remove(stream)
            self._reconnects += stream.reconnects

"""The client for programs on asyncio: the names of the one in ``sync``, awaited."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any

from audiosep_core.errors import BridgeError
from audiosep_core.settings import Mode, Queries, Settings
from plugin_bridge.address import Address, choose_address
from plugin_bridge.client.asyncio.keeper import AsyncKeeper
from plugin_bridge.client.asyncio.link import AsyncLink
from plugin_bridge.client.asyncio.stream import AsyncBridgeStream
from plugin_bridge.client.stream_state import Missing
from plugin_bridge.client.timeouts import RECONNECT_SECONDS, TIMEOUT_SECONDS
from plugin_bridge.protocol.messages import Contract, Listed
from plugin_bridge.protocol.request import StreamRequest


class AsyncBridgeClient:
    """Opens streams on a server.

    Each stream has a connection of its own; all belong to the event loop that opens them.

    Args:
        socket, tcp, host, token, timeout, reconnect: As in :class:`plugin_bridge.BridgeClient`.

    Raises:
        AddressError: Socket and port are both given.
    """

    def __init__(
        self,
        socket: str | Path | None = None,
        *,
        tcp: int | None = None,
        host: str = "127.0.0.1",
        token: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        reconnect: float = RECONNECT_SECONDS,
    ) -> None:
        self.address: Address = choose_address(socket, tcp, host)
        self._connect = functools.partial(AsyncLink.connect, self.address, timeout, token)
        self._keeper = AsyncKeeper(self._connect, reconnect)
        self._closed = False

    def __repr__(self) -> str:
        return f"<AsyncBridgeClient of {self.address} with {len(self._keeper.streams)} streams>"

    async def __aenter__(self) -> AsyncBridgeClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def reconnects(self) -> int:
        """How often a stream went on over another connection after it lost one."""
        return self._keeper.reconnects

    async def open(
        self,
        queries: Queries | Settings,
        sample_rate: int,
        channels: int,
        mode: Mode = "mix",
        contract: Contract = "realtime",
        *,
        missing: Missing = "error",
        **options: Any,
    ) -> AsyncBridgeStream:
        """Open a stream: arguments and errors are those of :meth:`BridgeClient.open`."""
        if self._closed:
            raise BridgeError("the client is closed; make another one")
        request = StreamRequest.of(queries, sample_rate, channels, mode, contract, **options)
        link = await self._connect()
        opened = await link.open(request.message())
        stream = AsyncBridgeStream(self._keeper, request, link, opened, missing)
        self._keeper.add(stream)
        return stream

    async def models(self) -> dict[str, list[str]]:
        """The models of the server: as :meth:`BridgeClient.models`."""
        return {model.name: model.modes for model in (await self._listed("")).models}

    async def known_queries(self, model: str = "") -> list[str]:
        """Queries that take no time: as :meth:`BridgeClient.known_queries`."""
        return (await self._listed(model)).queries

    async def statistics(self, prometheus: bool = False) -> Any:
        """Figures of the server: as :meth:`BridgeClient.statistics`."""
        async with self._greeted() as link:
            reply = await link.ask(link.exchange.statistics, server=True, prometheus=prometheus)
        text = reply.payload
        return text.decode() if prometheus else json.loads(text)

    async def close(self) -> None:
        """Close all streams; what they held back is lost."""
        self._closed = True
        for stream in list(self._keeper.streams):
            await stream.close()

    async def _listed(self, model: str) -> Listed:
        async with self._greeted() as link:
            listed = (await link.ask(link.exchange.listing, model)).message
        assert isinstance(listed, Listed)
        return listed

    @contextlib.asynccontextmanager
    async def _greeted(self) -> AsyncIterator[AsyncLink]:
        """A connection on which it has been said who we are."""
        link = await self._connect()
        try:
            await link.greet()
            yield link
        finally:
            await link.close()

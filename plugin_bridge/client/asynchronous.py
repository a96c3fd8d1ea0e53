"""The client for programs on asyncio: the names of the blocking one, awaited."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import AudioSepError, BridgeError
from audiosep_core.selection import Queries
from plugin_bridge.address import Address, choose_address
from plugin_bridge.client.async_link import AsyncLink
from plugin_bridge.client.blocking import TIMEOUT_SECONDS
from plugin_bridge.client.failures import lost
from plugin_bridge.client.keeper import FIRST_RETRY, LAST_RETRY
from plugin_bridge.client.request import StreamRequest
from plugin_bridge.client.stream import StreamState
from plugin_bridge.modes import Mode
from plugin_bridge.protocol.messages import Change, Contract, Open, Opened


class AsyncBridgeClient:
    """Opens streams on a server.

    Each stream has a connection of its own; all belong to the event loop that opens them.

    Args:
        socket, tcp, host, token, timeout: As in :class:`plugin_bridge.BridgeClient`.

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
    ) -> None:
        self.address: Address = choose_address(socket, tcp, host)
        self._token = token
        self._timeout = timeout
        self._streams: list[AsyncBridgeStream] = []
        self._reconnects = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<AsyncBridgeClient of {self.address} with {len(self._streams)} streams>"

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
        return self._reconnects + sum(stream.reconnects for stream in self._streams)

    async def open(
        self,
        queries: Queries,
        sample_rate: int,
        channels: int,
        mode: Mode = "mix",
        contract: Contract = "realtime",
        **settings: Any,
    ) -> AsyncBridgeStream:
        """Open a stream: arguments and errors are those of :meth:`BridgeClient.open`."""
        if self._closed:
            raise BridgeError("the client is closed; make another one")
        request = StreamRequest(queries, sample_rate, channels, mode, contract, **settings)
        link, opened = await self._open(request.message())
        stream = AsyncBridgeStream(self, request, link, opened)
        self._streams.append(stream)
        return stream

    async def statistics(self, prometheus: bool = False) -> Any:
        """Figures of the server: as :meth:`BridgeClient.statistics`."""
        link = await self._connect()
        try:
            text = (
                await link.ask(link.exchange.statistics, server=True, prometheus=prometheus)
            ).payload
        finally:
            await link.close()
        return text.decode() if prometheus else json.loads(text)

    async def close(self) -> None:
        """Close all streams; what they held back is lost."""
        self._closed = True
        for stream in list(self._streams):
            await stream.close()

    async def _connect(self) -> AsyncLink:
        """A connection on which it has been said who we are."""
        token = self.address.token() if self._token is None else self._token
        link = await AsyncLink.connect(self.address, self._timeout)
        try:
            await link.ask(link.exchange.hello, token)
        except BaseException:
            await link.close()
            raise
        return link

    async def _open(self, message: Open) -> tuple[AsyncLink, Opened]:
        link = await self._connect()
        try:
            opened = (await link.ask(link.exchange.open, message)).message
        except BaseException:
            await link.close()
            raise
        assert isinstance(opened, Opened)
        return link, opened

    def _forget(self, stream: AsyncBridgeStream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
            self._reconnects += stream.reconnects


class AsyncBridgeStream(StreamState):
    """One stream; made by :meth:`AsyncBridgeClient.open`. One task at a time may use it.

    It keeps to the contracts as :class:`plugin_bridge.client.blocking_stream.BridgeStream` does.
    """

    def __init__(
        self, client: AsyncBridgeClient, request: StreamRequest, link: AsyncLink, opened: Opened
    ) -> None:
        super().__init__(request, opened)
        self._client = client
        self._link: AsyncLink | None = None
        self._sought = asyncio.Event()
        self._use(link)
        self._task = asyncio.create_task(self._keep())

    async def __aenter__(self) -> AsyncBridgeStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def process(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take a block, return as many frames: as :meth:`BridgeStream.process`.

        In the contract "realtime" other tasks get their turn, but nothing is waited for.
        """
        self._check_open()
        block, count = self._sound(block), block.shape[1]
        self._alignment.push(block)
        try:
            await self._with_link(self._exchange_block, block)
            # Others must get their turn, the event loop to receive among them.
            await asyncio.sleep(0)
        except BaseException:
            # Whoever goes on in spite of it stays in time.
            self._alignment.take(count)
            raise
        out = self._take(count)
        self._refusals()
        return out

    async def flush(self) -> NDArray[np.float32]:
        """End the stream: as :meth:`BridgeStream.flush`."""
        self._check_open()
        await self._with_link(lambda link: link.ask(link.exchange.flush))
        try:
            tail = self._take(self.latency_samples)
            self._refusals()
        finally:
            self._restarted()
        return tail

    async def reset(self) -> None:
        """Forget all sound: as :meth:`BridgeStream.reset`."""
        self._check_open()
        self._restarted()
        if self._link is not None:
            self._link.send(self._link.exchange.reset)
        elif self.contract == "render":
            await self._reopen()
            self._sought.set()

    async def set_queries(self, queries: Queries, position: int | None = None) -> None:
        """Separate something else: as :meth:`BridgeStream.set_queries`."""
        self._change(position, queries=queries)

    async def statistics(self) -> dict[str, Any]:
        """Figures of the stream: as :meth:`BridgeStream.statistics`."""
        reply = await self._try_link(lambda link: link.ask(link.exchange.statistics))
        server = None if reply is None else json.loads(reply.payload)
        return {**self._figures(), "server": server}

    async def close(self) -> None:
        """End the stream; what it held back is lost."""
        if self._closed:
            return
        self._closed = True
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        link = self._link
        if link is not None:
            link.send(link.exchange.close)
            self._lose(BridgeError("the stream is closed"))
            await link.close()
        self._client._forget(self)

    async def _exchange_block(self, link: AsyncLink, block: NDArray[np.float32]) -> None:
        wait = self.contract == "render"
        for piece in self._pieces(block):
            sequence = link.send(link.exchange.audio, piece)
            while wait and link.exchange.answered < sequence:
                await link.wait()
        if not wait and link.unsent > self._most_unsent:
            raise lost(str(self._client.address), "it takes no audio")

    async def _with_link(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Do something with the connection, if there is one; give what it gives, or None.

        Raises:
            BridgeError: There is none, or it gets lost, in the contract "render".
        """
        outcome = await self._try_link(action, *arguments)
        self._check_connected()
        return outcome

    async def _try_link(self, action: Callable[..., Any], *arguments: Any) -> Any:
        link = self._link
        if link is None:
            return None
        try:
            return await action(link, *arguments)
        except BridgeError as error:
            if self._link is link:
                self._lose(error)
            return None
        except BaseException:
            # Nobody knows what the server has heard.
            if self._link is link:
                self._lose(BridgeError("a call was interrupted; reset() the stream"))
            raise

    async def _keep(self) -> None:
        """Look after the connection for as long as the stream is open."""
        retry = FIRST_RETRY
        while True:
            link = self._link
            if link is not None:
                await link.ended.wait()
                if self._link is link and link.failure is not None:
                    self._lose(link.failure)
                await link.close()
                retry = FIRST_RETRY
            elif self.contract == "render":
                self._sought.clear()
                await self._sought.wait()
            else:
                try:
                    await self._reopen()
                    self.reconnects += 1
                except (AudioSepError, ValueError) as error:
                    self.last_error = error
                    await asyncio.sleep(retry)
                    retry = min(2 * retry, LAST_RETRY)

    async def _reopen(self) -> None:
        link, opened = await self._client._open(self._request.message())
        try:
            self._check_same(opened)
            if self._link is None:
                self._use(link)
        finally:
            if self._link is not link:
                await link.close()

    def _use(self, link: AsyncLink) -> None:
        self._link = link
        self._adopt(link.exchange)

    def _lose(self, error: BridgeError) -> None:
        super()._lose(error)
        link, self._link = self._link, None
        if link is not None:
            link.ended.set()
        self._seek()

    def _seek(self) -> None:
        self._sought.set()

    def _say_change(self, change: Change, before: dict[str, Any]) -> None:
        if self._link is not None:
            self._link.send(self._link.exchange.change, change, before)

"""A stream for programs on asyncio: the names of the one in ``sync``, awaited."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiosep_core.errors import AudioSepError, BridgeError
from audiosep_core.settings import Delta, Queries
from plugin_bridge.address import AddressError
from plugin_bridge.client.asyncio.keeper import AsyncKeeper
from plugin_bridge.client.asyncio.link import AsyncLink
from plugin_bridge.client.failures import lost
from plugin_bridge.client.stream_state import Missing, StreamState
from plugin_bridge.client.timeouts import FIRST_RETRY, LAST_RETRY, MOST_REPLAYS
from plugin_bridge.live.blocks import like
from plugin_bridge.protocol.messages import Change, Opened
from plugin_bridge.protocol.request import StreamRequest


class AsyncBridgeStream(StreamState):
    """One stream; made by :meth:`AsyncBridgeClient.open`. One task at a time may use it.

    It keeps to the contracts as :class:`plugin_bridge.client.sync.stream.BridgeStream` does.
    """

    def __init__(
        self,
        keeper: AsyncKeeper,
        request: StreamRequest,
        link: AsyncLink,
        opened: Opened,
        missing: Missing = "error",
    ) -> None:
        super().__init__(request, opened, missing)
        self._keeper = keeper
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

    async def process(self, block: ArrayLike) -> NDArray[np.float32]:
        """Take a block, return as many frames: as :meth:`BridgeStream.process`.

        In the contract "realtime" other tasks get their turn, but nothing is waited for.
        """
        self._check_open()
        sound = self._sound(block)
        count = sound.shape[1]
        try:
            try:
                await self._try_link(self._send_block, sound)
            finally:
                # The server works meanwhile.
                self._push(sound)
            await self._try_link(self._hear_block)
            if self._link is None and self.contract == "render":
                await self._recover()
            # Others must get their turn, the event loop to receive among them.
            await asyncio.sleep(0)
        except BaseException:
            # Whoever goes on in spite of it stays in time.
            self._alignment.take(count)
            raise
        out = self._take(count)
        self._tell_refusals()
        return like(block, out)

    async def flush(self) -> NDArray[np.float32]:
        """End the stream: as :meth:`BridgeStream.flush`."""
        self._check_open()
        for _ in range(MOST_REPLAYS):
            if self._link is None and self.contract == "render":
                await self._recover()
            await self._try_link(lambda link: link.ask(link.exchange.flush))
            if self._link is not None or self.contract == "realtime" or self._gave_up:
                break
        try:
            tail = self._take(self.latency_samples)
            self._tell_refusals()
        finally:
            self._restarted()
        return tail

    async def reset(self, origin: int = 0) -> None:
        """Forget all sound: as :meth:`BridgeStream.reset`."""
        self._check_open()
        self._restarted(origin)
        if self._link is not None:
            self._link.send(self._link.exchange.reset, origin)
        elif self.contract == "render":
            await self._reopen()

    async def set_queries(self, queries: Queries, position: int | None = None) -> None:
        """Separate something else: as :meth:`BridgeStream.set_queries`."""
        self.change(Delta(queries), position)

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
        self._keeper.forget(self)

    async def _send_block(self, link: AsyncLink, block: NDArray[np.float32]) -> None:
        for piece in self._pieces(block):
            link.send(link.exchange.audio, piece)
            while self.contract == "render" and link.unsent:
                await link.wait()

    async def _hear_block(self, link: AsyncLink) -> None:
        if self.contract == "render":
            while link.exchange.owes_audio:
                await link.wait()
        elif link.unsent > self._most_unsent:
            raise lost(link.server, "it takes no audio")

    async def _recover(self) -> None:
        """Go on with another server: as :class:`BridgeStream` does."""
        patience = 0.0 if self._gave_up else self._keeper.patience
        until, pause, lost = time.monotonic() + patience, FIRST_RETRY, 0
        while self._link is None:
            request, snapshot, past = self._replayed()
            try:
                link, opened = await self._open(request)
            except (BridgeError, AddressError) as error:
                if time.monotonic() + pause > until:
                    self._give_up(self._why or error)
                    return
                await asyncio.sleep(pause)
                pause = min(2 * pause, LAST_RETRY)
                continue
            await self._take_over(link, opened, request.origin - self.origin)
            await self._try_link(self._replay, snapshot, past)
            lost += self._link is None
            if lost == MOST_REPLAYS:
                # The server may die of what it is sent.
                self._give_up(BridgeError(str(self._why)))
                return
            until = time.monotonic() + patience

    async def _replay(
        self, link: AsyncLink, snapshot: bytes | None, past: NDArray[np.float32]
    ) -> None:
        if snapshot is not None:
            link.send(link.exchange.resume, snapshot)
        await self._send_block(link, past)
        await self._hear_block(link)

    async def _take_over(self, link: AsyncLink, opened: Opened, base: int | None = None) -> None:
        """Go on over a connection, unless another one has come first."""
        try:
            self._check_same(opened)
            if self._link is None:
                self.reconnects += 1
                self._use(link, base)
        finally:
            if self._link is not link:
                await link.close()

    async def _try_link(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Do something with the connection, if there is one; give what it gives, or None."""
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
                self._interrupt()
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
                except (AudioSepError, ValueError) as error:
                    self.last_error = error
                    await asyncio.sleep(retry)
                    retry = min(2 * retry, LAST_RETRY)

    async def _reopen(self) -> None:
        await self._take_over(*await self._open(self._confirmed))

    async def _open(self, request: StreamRequest) -> tuple[AsyncLink, Opened]:
        link = await self._keeper.connect()
        return link, await link.open(request.message())

    def _use(self, link: AsyncLink, base: int | None = None) -> None:
        self._link = link
        self._adopt(link.exchange, base)
        self._sought.set()

    def _lose(self, error: BridgeError) -> None:
        super()._lose(error)
        link, self._link = self._link, None
        if link is not None:
            link.ended.set()
        self._seek()

    def _seek(self) -> None:
        self._sought.set()

    def _say_change(self, change: Change) -> int | None:
        if self._link is None:
            return None
        return self._link.send(self._link.exchange.change, change)

    def _say_origin(self, origin: int) -> None:
        if self._link is not None:
            self._link.send(self._link.exchange.reset, origin)

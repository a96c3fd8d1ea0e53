"""The socket of one stream on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from audiosep_core.errors import BridgeError
from plugin_bridge.address import Address, UnixAddress
from plugin_bridge.client.exchange import Exchange
from plugin_bridge.client.failures import lost, unreachable
from plugin_bridge.client.timeouts import CONNECT_SECONDS
from plugin_bridge.protocol.client_side import Answer
from plugin_bridge.protocol.messages import Open, Opened
from plugin_bridge.protocol.wire import Type


class AsyncLink(asyncio.Protocol):
    """A connection to a server, for one stream; :meth:`connect` makes it.

    Everything, the protocol object included, happens on the event loop that made it.

    Args:
        server: Where the server listens, for people.
        timeout: Seconds without a byte of the server after which waiting for it fails.
        token: What the server asks for.

    Attributes:
        server: As given.
        exchange: What was asked and answered.
        failure: Why the connection ended; None while it has not.
        ended: Set when it has.
    """

    def __init__(self, server: str, timeout: float, token: str) -> None:
        self.exchange = Exchange(server)
        self.failure: BridgeError | None = None
        self.ended = asyncio.Event()
        self.server = server
        self._token = token
        self._timeout = timeout
        self._moved = asyncio.Event()
        self._gone = asyncio.Event()
        self._sent_at = time.monotonic()
        self._alarm: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def connect(cls, address: Address, timeout: float, token: str | None = None) -> AsyncLink:
        """A connection to a server: arguments and errors are those of the other ``Link``."""
        loop = asyncio.get_running_loop()
        known = token or address.token()

        def make() -> AsyncLink:
            return cls(str(address), timeout, known)

        try:
            if isinstance(address, UnixAddress):
                address.check_owner()
                connecting = loop.create_unix_connection(make, str(address.path))
            else:
                connecting = loop.create_connection(make, address.host, address.port)
            _, link = await asyncio.wait_for(connecting, min(timeout, CONNECT_SECONDS))
        except asyncio.TimeoutError:
            raise unreachable(str(address), TimeoutError("timed out")) from None
        except OSError as error:
            raise unreachable(str(address), error) from None
        return link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For the event loop."""
        self._transport = cast(asyncio.Transport, transport)
        self._keep_alive()

    def data_received(self, data: bytes) -> None:
        """For the event loop."""
        try:
            self.exchange.receive(data)
        except BridgeError as error:
            self._end(error)
            self._transport.close()
        self._moved.set()

    def connection_lost(self, error: Exception | None) -> None:
        """For the event loop."""
        reason = "it closed the connection" if error is None else str(error)
        self._end(lost(self.server, reason))
        self._gone.set()

    @property
    def unsent(self) -> int:
        """Bytes that the system has not taken yet."""
        return self._transport.get_write_buffer_size()

    def send(self, make: Callable[..., bytes], *arguments: Any, **named: Any) -> int:
        """Send a message that a method of the exchange makes; its number.

        Raises:
            RuntimeError: The call comes from another thread or event loop.
        """
        self._check_loop()
        data = make(*arguments, **named)
        if self.failure is None:
            self._sent_at = time.monotonic()
            self._transport.write(data)
        return self.exchange.last

    async def ask(self, make: Callable[..., bytes], *arguments: Any, **named: Any) -> Answer:
        """Send a message and wait for its reply.

        Raises:
            BridgeError: The connection ended, or nothing came for too long.
            QueryError, ModeError, BundleError, ValueError: The server refused.
        """
        sequence = self.send(make, *arguments, **named)
        while (reply := self.exchange.reply(sequence)) is None:
            await self.wait()
        return reply

    async def greet(self) -> None:
        """Say who we are: as :meth:`plugin_bridge.client.sync.link.Link.greet`."""
        if (await self.ask(self.exchange.hello, self._token)).type == Type.CHALLENGE:
            await self.ask(self.exchange.prove)

    async def open(self, message: Open) -> Opened:
        """Open the stream: as :meth:`plugin_bridge.client.sync.link.Link.open`."""
        try:
            await self.greet()
            opened = (await self.ask(self.exchange.open, message)).message
        except BaseException:
            await self.close()
            raise
        assert isinstance(opened, Opened)
        return opened

    async def wait(self) -> None:
        """Until something came.

        Raises:
            BridgeError: The connection ended, or nothing came for too long.
        """
        if self.failure is not None:
            raise self.failure
        self._moved.clear()
        try:
            await asyncio.wait_for(self._moved.wait(), self._timeout)
        except asyncio.TimeoutError:
            self._end(lost(self.server, f"no answer for {self._timeout:g} s"))

    async def close(self) -> None:
        """End the connection."""
        self._end(BridgeError("the connection is closed"))
        if self.unsent:
            # Nobody may be there to take it.
            self._transport.abort()
        self._transport.close()
        await self._gone.wait()

    def _check_loop(self) -> None:
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if not here:
            raise RuntimeError("a stream is used on the event loop that opened it, and on no other")

    def _end(self, error: BridgeError) -> None:
        if self.failure is None:
            self.failure = error
        if self._alarm is not None:
            self._alarm.cancel()
        self._moved.set()
        self.ended.set()

    def _keep_alive(self) -> None:
        """Send a PING if nothing was sent for long, and look again in time."""
        interval = self.exchange.idle_seconds / 3
        if time.monotonic() - self._sent_at >= interval:
            self.send(self.exchange.ping)
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(interval / 2, self._keep_alive)

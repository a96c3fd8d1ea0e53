"""The socket of one stream: never waits unless told to, and then not for ever."""

from __future__ import annotations

import contextlib
import functools
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from plugin_bridge.address import Address
from plugin_bridge.client.exchange import Exchange
from plugin_bridge.client.failures import lost, unreachable
from plugin_bridge.client.timeouts import CONNECT_SECONDS
from plugin_bridge.protocol.client_side import Answer
from plugin_bridge.protocol.messages import Open, Opened
from plugin_bridge.protocol.wire import Type

_RECEIVE_BYTES = 1 << 18


class Link:
    """A connection to a server, for one stream.

    One thread at a time may use it; :meth:`keep_alive` and :meth:`abort` any other. Of the
    exchange, and so of the protocol object, what makes messages is called under ``_lock``, since
    the keeper numbers its PINGs too; what takes bytes is called by one thread at a time.

    Args:
        address: Of the server.
        timeout: Seconds without a byte of the server after which waiting for it fails.
        token: What the server asks for; by default read from the file where it leaves it.

    Attributes:
        exchange: What was asked and answered.
        server: Where the server listens, for people.

    Raises:
        BridgeError: Nobody answers there.
        AddressError: The server's token cannot be read.
    """

    def __init__(self, address: Address, timeout: float, token: str | None = None) -> None:
        self.server = str(address)
        self.exchange = Exchange(self.server)
        self._token = token or address.token()
        self._timeout = timeout
        try:
            self._socket = address.connect(min(timeout, CONNECT_SECONDS))
        except OSError as error:
            raise unreachable(self.server, error) from None
        self._socket.setblocking(False)
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll:
            self._poll.register(self._socket)
        self._buffer = memoryview(bytearray(_RECEIVE_BYTES))
        self._unsent = bytearray()
        self._sent_at = time.monotonic()
        #: Held while a message is numbered and sent.
        self._lock = threading.Lock()
        #: Held by the thread that receives; nobody waits for it.
        self._receiving = threading.Lock()

    def greet(self) -> None:
        """Say who we are; with a token both sides prove first that they know it.

        Raises:
            BridgeError: The server refused the client, does not know the token, or is gone.
        """
        if self.ask(self.exchange.hello, self._token).type == Type.CHALLENGE:
            self.ask(self.exchange.prove)

    def open(self, message: Open) -> Opened:
        """Say who we are and open the stream; the connection ends where that fails.

        Raises:
            BridgeError: The server refused the client, or is gone.
            QueryError, ModeError, BundleError, ValueError: It refused the stream.
        """
        try:
            self.greet()
            opened = self.ask(self.exchange.open, message).message
        except BaseException:
            self.close()
            raise
        assert isinstance(opened, Opened)
        return opened

    def send(self, make: Callable[..., bytes], *arguments: Any) -> int:
        """Send what the system takes at once; the rest goes with the next call.

        Args:
            make: A method of the exchange that makes a message.
            arguments: For it.

        Returns:
            The number of the message.

        Raises:
            BridgeError: The connection ended.
        """
        with self._lock:
            data = make(*arguments)
            sequence = self.exchange.last
            self._transmit_or_fail(data)
        return sequence

    def ask(self, make: Callable[..., bytes], *arguments: Any, **named: Any) -> Answer:
        """Send a message and wait for its reply.

        Raises:
            BridgeError: The connection ended, or nothing came for too long.
            QueryError, ModeError, BundleError, ValueError: The server refused.
        """
        sequence = self.send(functools.partial(make, *arguments, **named))
        self.drain()
        while (reply := self.exchange.reply(sequence)) is None:
            self.receive(wait=True)
        return reply

    @property
    def unsent(self) -> int:
        """Bytes that the system has not taken yet."""
        return len(self._unsent)

    def drain(self) -> None:
        """Wait until the system took everything, receiving meanwhile.

        Raises:
            BridgeError: The connection ended, or nothing moved for too long.
        """
        while self._unsent:
            self._pause(write=True)
            self.receive()
            with self._lock:
                self._transmit_or_fail(b"")

    def receive(self, wait: bool = False) -> None:
        """Take what has come, or wait for something.

        Raises:
            BridgeError: The connection ended, or nothing came for too long.
            RuntimeError: Another thread receives already.
        """
        if not self._receiving.acquire(blocking=False):
            raise RuntimeError(
                "two threads use one stream at once; give each thread a stream of its own"
            )
        try:
            self._receive(wait)
        finally:
            self._receiving.release()

    def _receive(self, wait: bool) -> None:
        if wait:
            self._pause()
        while True:
            try:
                count = self._socket.recv_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                raise lost(self.server, error.strerror or str(error)) from None
            if not count:
                raise lost(self.server, "it closed the connection")
            self.exchange.receive(self._buffer[:count])
            if wait and count < len(self._buffer):
                return

    def keep_alive(self, now: float) -> float:
        """Send a PING if nothing was sent for long.

        Args:
            now: :func:`time.monotonic`.

        Returns:
            Seconds until the next is due.
        """
        interval = self.exchange.idle_seconds / 3
        if now - self._sent_at >= interval and self._lock.acquire(blocking=False):
            # Whoever sends the next block finds out that the connection is gone.
            with contextlib.suppress(OSError):
                self._transmit(self.exchange.ping())
            self._lock.release()
        return max(self._sent_at + interval - now, interval / 10)

    def abort(self) -> None:
        """Let a thread that waits here fail."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _transmit_or_fail(self, data: bytes) -> None:
        try:
            self._transmit(data)
        except OSError as error:
            # The server may have said why before it went.
            self.receive()
            raise lost(self.server, error.strerror or str(error)) from None

    def _transmit(self, data: bytes) -> None:
        assert self._lock.locked(), "whoever sends holds the lock"
        self._sent_at = time.monotonic()
        if self._unsent:
            self._unsent += data
            sent = self._write(self._unsent)
            del self._unsent[:sent]
        elif (sent := self._write(data)) < len(data):
            self._unsent += data[sent:]

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0

    def _pause(self, write: bool = False) -> None:
        """Wait until something came, or with ``write`` can be sent.

        Raises:
            BridgeError: Neither within the time.
        """
        if self._poll:
            self._poll.modify(self._socket, select.POLLIN | (select.POLLOUT if write else 0))
            ready = bool(self._poll.poll(self._timeout * 1000))
        else:  # Windows, whose select() takes descriptors of any number.
            writable = [self._socket] if write else []
            ready = any(select.select([self._socket], writable, [], self._timeout))
        if not ready:
            raise lost(self.server, f"no answer for {self._timeout:g} s")

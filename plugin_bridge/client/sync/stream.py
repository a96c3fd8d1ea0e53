"""A stream for scripts, and for hosts that process audio on a thread."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audiosep_core.errors import BridgeError
from audiosep_core.settings import Delta, Queries
from plugin_bridge.address import AddressError
from plugin_bridge.client.failures import lost
from plugin_bridge.client.stream_state import Missing, StreamState
from plugin_bridge.client.sync.keeper import Keeper
from plugin_bridge.client.sync.link import Link
from plugin_bridge.client.timeouts import FIRST_RETRY, LAST_RETRY, MOST_REPLAYS
from plugin_bridge.live.blocks import like
from plugin_bridge.protocol.messages import Change, Open, Opened
from plugin_bridge.protocol.request import StreamRequest


class BridgeStream(StreamState):
    """One stream; made by :meth:`BridgeClient.open`. One thread at a time may use it.

    In the contract "realtime" no call but :meth:`flush` and :meth:`statistics` waits for the
    server: what it has not answered in time is the mixture, equally late. Blocks must be shorter
    than the slack. If the connection is lost, it is opened again in the background.

    In the contract "render" every frame is separated. Where the server is lost, the call waits for
    another one, which is sent again what was not answered; where there is none, it fails, or plays
    what the stream was opened for, and says so on standard error.
    """

    def __init__(
        self,
        keeper: Keeper,
        request: StreamRequest,
        link: Link,
        opened: Opened,
        missing: Missing = "error",
    ) -> None:
        super().__init__(request, opened, missing)
        self._keeper = keeper
        self._link: Link | None = link
        self._offered: tuple[Link, Opened] | None = None
        self._offering = threading.Lock()
        self._trying: Link | None = None
        self._abandoned = threading.Event()
        self._adopt(link.exchange)

    def __enter__(self) -> BridgeStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def process(self, block: ArrayLike) -> NDArray[np.float32]:
        """Take a block, return as many frames, ``latency_samples`` behind.

        Args:
            block: (channels, n) floating point, of a mono stream (n,), too; n may be 0.

        Returns:
            (channels, n) float32; for the other ``outputs``, (rows, channels, n). Without an axis
            for channels if the block had none.

        Raises:
            TypeError, ValueError: As :meth:`plugin_bridge.StreamingSeparator.process`.
            BridgeError: In the contract "render", the connection is lost, and there is no other.
        """
        self._check_open()
        sound = self._sound(block)
        count = sound.shape[1]
        self._accept_offer()
        try:
            try:
                self._try_link(self._send_block, sound)
            finally:
                # The server works meanwhile.
                self._push(sound)
            self._try_link(self._hear_block)
            if self._link is None and self.contract == "render":
                self._recover()
        except BaseException:
            # Whoever goes on in spite of it stays in time.
            self._alignment.take(count)
            raise
        out = self._take(count)
        self._tell_refusals()
        return like(block, out)

    def flush(self) -> NDArray[np.float32]:
        """End the stream: the last ``latency_samples`` frames. The next block starts a new one.

        Waits for the server in both contracts. In "realtime" the mixture stands in if it is gone.

        Raises:
            BridgeError: In the contract "render", the connection is lost, and there is no other.
        """
        self._check_open()
        self._accept_offer()
        for _ in range(MOST_REPLAYS):
            if self._link is None and self.contract == "render":
                self._recover()
            self._try_link(lambda link: link.ask(link.exchange.flush))
            if self._link is not None or self.contract == "realtime" or self._gave_up:
                break
        try:
            tail = self._take(self.latency_samples)
            self._tell_refusals()
        finally:
            self._restarted()
        return tail

    def abandon(self) -> None:
        """Leave a render: a call that waits for the server ends at once, from any thread.

        It fails, or gives what the stream was opened for where nobody answers, and so does every
        call until :meth:`reset`. In the contract "realtime" nothing happens.
        """
        if self.contract == "render":
            self._abandoned.set()
            for link in (self._link, self._trying):
                if link is not None:
                    link.abort()

    def reset(self, origin: int = 0) -> None:
        """Forget all sound; the settings stay.

        Args:
            origin: The next frame on the host's time line.

        Raises:
            BridgeError: In the contract "render", the connection is lost and cannot be opened.
        """
        self._check_open()
        self._restarted(origin)
        self._accept_offer()
        if self._link is not None:
            self._try_link(lambda link: link.send(link.exchange.reset, origin))
        if self._link is None and self.contract == "render":
            self.offer(*self._open(self._confirmed))
            self._accept_offer()

    def set_queries(self, queries: Queries, position: int | None = None) -> None:
        """Separate something else, or at other levels.

        Args:
            queries: As in :meth:`BridgeClient.open`.
            position: As in :meth:`change`.

        Raises:
            QueryError: A query is empty or too long, or all are negative. What only the server
                finds out comes with a later :meth:`process` in the contract "render", and is the
                ``last_error`` otherwise.
            ValueError: With ``outputs="stems"``, the number of stems would change.
        """
        self.change(Delta(queries), position)

    def statistics(self) -> dict[str, Any]:
        """Figures of the stream: those of this side, and as ``server`` those of the server.

        The latter are None while there is no connection.
        """
        self._accept_offer()
        reply = self._try_link(lambda link: link.ask(link.exchange.statistics))
        server = None if reply is None else json.loads(reply.payload)
        return {**self._figures(), "server": server}

    def close(self) -> None:
        """End the stream; what it held back is lost."""
        with self._offering:
            self._closed = True
            offered, self._offered = self._offered, None
        if offered:
            offered[0].close()
        if self._link is not None:
            with contextlib.suppress(BridgeError):
                self._link.send(self._link.exchange.close)
            self._lose(BridgeError("the stream is closed"))
        self._keeper.forget(self)

    def link_in_use(self) -> Link | None:
        """For the keeper: the connection that may fall silent."""
        offered = self._offered
        return self._link or (offered[0] if offered else None)

    def wanted(self) -> Open | None:
        """For the keeper: what to open in the background, if the connection is lost."""
        has_one = self._link is not None or self._offered is not None
        if self._closed or has_one or self.contract == "render":
            return None
        return self._confirmed.message()

    def offer(self, link: Link, opened: Opened) -> None:
        """For the keeper: a new connection, which the next call takes over.

        Raises:
            BridgeError: It is another kind of stream than the one before.
        """
        self._check_link(link, opened)
        with self._offering:
            welcome = not self._closed and self._link is None and self._offered is None
            if welcome:
                self._offered = link, opened
        if not welcome:
            link.close()

    def failed(self, error: Exception) -> None:
        """For the keeper: why there is no new connection."""
        self.last_error = error

    def _send_block(self, link: Link, block: NDArray[np.float32]) -> None:
        """Send audio; in the contract "render" all of it, however long the server takes."""
        for piece in self._pieces(block):
            link.send(link.exchange.audio, piece)
            if self.contract == "render":
                link.drain()

    def _hear_block(self, link: Link) -> None:
        """Take what has come; in the contract "render" all that was sent has its answer then."""
        if self.contract == "render":
            while link.exchange.owes_audio:
                link.receive(wait=True)
        else:
            link.receive()
            if link.unsent > self._most_unsent:
                raise lost(link.server, "it takes no audio")

    def _recover(self) -> None:
        """Go on with another server where a render lost one, at the frame that was not answered.

        Raises:
            BridgeError, AddressError: There is none, and that is an error.
            QueryError, ModeError, BundleError, ValueError: It refuses the stream.
        """
        patience = 0.0 if self._gave_up else self._keeper.patience
        until, pause, lost = time.monotonic() + patience, FIRST_RETRY, 0
        while self._link is None:
            if self._abandoned.is_set():
                self._give_up(BridgeError("the render was abandoned; reset() the stream"))
                return
            request, snapshot, past = self._replayed()
            try:
                link, opened = self._open(request)
            except (BridgeError, AddressError) as error:
                if time.monotonic() + pause > until and not self._abandoned.is_set():
                    self._give_up(self._why or error)
                    return
                self._abandoned.wait(pause)
                pause = min(2 * pause, LAST_RETRY)
                continue
            self._take_over(link, opened, request.origin - self.origin)
            self._try_link(self._replay, snapshot, past)
            lost += self._link is None
            if lost == MOST_REPLAYS:
                # The server may die of what it is sent.
                self._give_up(BridgeError(str(self._why)))
                return
            until = time.monotonic() + patience

    def _replay(self, link: Link, snapshot: bytes | None, past: NDArray[np.float32]) -> None:
        if snapshot is not None:
            link.send(link.exchange.resume, snapshot)
        self._send_block(link, past)
        self._hear_block(link)

    def _open(self, request: StreamRequest) -> tuple[Link, Opened]:
        """A connection with the stream on it, unless somebody abandons it meanwhile."""
        link = self._keeper.connect()
        # Who abandons sets the event, then looks at the link; here it is the other way round.
        self._trying = link
        if self._abandoned.is_set():
            link.abort()
        try:
            return link, link.open(request.message())
        finally:
            self._trying = None

    def _restarted(self, origin: int = 0) -> None:
        super()._restarted(origin)
        self._abandoned.clear()

    def _check_link(self, link: Link, opened: Opened) -> None:
        """Hang up on another kind of stream than the one before."""
        try:
            self._check_same(opened)
        except BridgeError:
            link.close()
            raise

    def _take_over(self, link: Link, opened: Opened, base: int) -> None:
        """Go on over a connection whose stream begins with frame ``base``.

        Raises:
            BridgeError: It is another kind of stream than the one before.
        """
        self._check_link(link, opened)
        with self._offering:
            offered, self._offered = self._offered, None
            self._link = link
        if offered:
            offered[0].close()
        self.reconnects += 1
        self._adopt(link.exchange, base)

    def _try_link(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Do something with the connection, if there is one; give what it gives, or None."""
        link = self._link
        if link is None:
            return None
        try:
            return action(link, *arguments)
        except BridgeError as error:
            self._lose(error)
            return None
        except BaseException:
            # Nobody knows what the server has heard.
            self._interrupt()
            raise

    def _accept_offer(self) -> None:
        """Take over the connection that was opened in the background."""
        if self._offered is not None:
            link = self._offered[0]
            # The keeper looks at both, and never may see neither.
            self._link = link
            self._offered = None
            self.reconnects += 1
            self._adopt(link.exchange)

    def _lose(self, error: BridgeError) -> None:
        super()._lose(error)
        link, self._link = self._link, None
        if link is not None:
            link.close()
        self._seek()

    def _seek(self) -> None:
        self._keeper.wake()

    def _say_change(self, change: Change) -> int | None:
        sequence: int | None = self._try_link(lambda link: link.send(link.exchange.change, change))
        return sequence

    def _say_origin(self, origin: int) -> None:
        self._try_link(lambda link: link.send(link.exchange.reset, origin))

"""The streams of a client: kept alive, and opened again, on a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from audiosep_core.errors import AudioSepError, BridgeError
from plugin_bridge.client.sync.link import Link
from plugin_bridge.client.timeouts import FIRST_RETRY, LAST_RETRY
from plugin_bridge.protocol.messages import Open, Opened

_IDLE_SECONDS = 60.0


class Kept(Protocol):
    """What the keeper must know of a stream."""

    reconnects: int

    def link_in_use(self) -> Link | None:
        """The connection that may fall silent, if any."""

    def wanted(self) -> Open | None:
        """What to open, or None where nothing is lost."""

    def offer(self, link: Link, opened: Opened) -> None:
        """A new connection, taken over or closed."""

    def failed(self, error: Exception) -> None:
        """Why there is none."""

    def close(self) -> None:
        """End the stream."""


class Keeper:
    """Looks after the streams of a client, any of whose threads may use it.

    Args:
        connect: Makes a connection; may fail.
        patience: Seconds for which a render waits for another server when it has lost one.

    Attributes:
        connect, patience: These.
    """

    def __init__(self, connect: Callable[[], Link], patience: float) -> None:
        self.connect = connect
        self.patience = patience
        self._streams: list[Kept] = []
        #: Of streams that are closed.
        self._reconnects = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._trying: Link | None = None
        self._retry = FIRST_RETRY
        #: Begins with the first stream.
        self._thread: threading.Thread | None = None

    @property
    def streams(self) -> list[Kept]:
        """Those that are open."""
        with self._lock:
            return list(self._streams)

    @property
    def reconnects(self) -> int:
        """How often a stream went on over another connection after it lost one."""
        with self._lock:
            return self._reconnects + sum(stream.reconnects for stream in self._streams)

    def add(self, stream: Kept) -> None:
        """Look after a stream, too."""
        with self._lock:
            self._streams.append(stream)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(
                    target=self._run, name="audiosep bridge", daemon=True
                )
                self._thread.start()

    def forget(self, stream: Kept) -> None:
        """A stream is closed."""
        with self._lock:
            if stream in self._streams:
                self._streams.remove(stream)
                self._reconnects += stream.reconnects

    def wake(self) -> None:
        """A stream lost its connection; never waits."""
        self._wake.set()

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._closed = True
        self._wake.set()
        trying = self._trying
        if trying is not None:
            trying.abort()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            streams = self.streams
            pause = min((self._keep_alive(stream) for stream in streams), default=_IDLE_SECONDS)
            if self._open_lost(streams):
                self._retry = FIRST_RETRY
            else:
                pause, self._retry = self._retry, min(2 * self._retry, LAST_RETRY)
            self._wake.wait(pause)
            self._wake.clear()

    def _keep_alive(self, stream: Kept) -> float:
        link = stream.link_in_use()
        return _IDLE_SECONDS if link is None else link.keep_alive(time.monotonic())

    def _open_lost(self, streams: Iterable[Kept]) -> bool:
        """Open what is lost; whether nothing is lost any more."""
        all_open = True
        for stream in streams:
            message = stream.wanted()
            if message is None:
                continue
            try:
                link = self.connect()
            except AudioSepError as error:
                stream.failed(error)
                return False
            try:
                with self._watched(link):
                    stream.offer(link, link.open(message))
            except (AudioSepError, ValueError) as error:
                link.close()
                stream.failed(error)
                all_open = False
        return all_open

    @contextlib.contextmanager
    def _watched(self, link: Link) -> Iterator[None]:
        """Let :meth:`close` break off what is being tried."""
        self._trying = link
        try:
            if self._closed:
                raise BridgeError("the client was closed")
            yield
        finally:
            self._trying = None

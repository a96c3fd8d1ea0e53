"""The client for scripts, and for hosts that process audio on a thread."""

from __future__ import annotations

import contextlib
import functools
import json
from pathlib import Path
from types import TracebackType
from typing import Any

from audiosep_core.errors import BridgeError
from audiosep_core.settings import Mode, Queries, Settings
from plugin_bridge.address import Address, choose_address
from plugin_bridge.client.stream_state import Missing
from plugin_bridge.client.sync.keeper import Keeper
from plugin_bridge.client.sync.link import Link
from plugin_bridge.client.sync.status import ask
from plugin_bridge.client.sync.stream import BridgeStream
from plugin_bridge.client.timeouts import RECONNECT_SECONDS, TIMEOUT_SECONDS
from plugin_bridge.protocol.messages import Contract, Listed
from plugin_bridge.protocol.request import StreamRequest


class BridgeClient:
    """Opens streams on a server.

    Each stream has a connection of its own. Streams of one client may be used on as many threads,
    each on one at a time.

    Args:
        socket: Path of the server's socket; by default where ``audiosep serve`` listens.
        tcp: Port of the server instead.
        host: With ``tcp``, the machine.
        token: With ``tcp``, what the server asks for; by default read from the file in which a
            server on this machine leaves it.
        timeout: Seconds without a byte of the server after which waiting for it fails.
        reconnect: Seconds for which a stream in the contract "render" waits for a server again
            when it has lost one.

    Raises:
        AddressError: Socket and port are both given, or the path cannot be that of a socket.
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
        self._token = token
        self._timeout = timeout
        self._connect = functools.partial(Link, self.address, timeout, token)
        self._keeper = Keeper(self._connect, reconnect)
        self._closed = False

    def __repr__(self) -> str:
        return f"<BridgeClient of {self.address} with {len(self._keeper.streams)} streams>"

    def __enter__(self) -> BridgeClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def reconnects(self) -> int:
        """How often a stream went on over another connection after it lost one."""
        return self._keeper.reconnects

    def open(
        self,
        queries: Queries | Settings,
        sample_rate: int,
        channels: int,
        mode: Mode = "mix",
        contract: Contract = "realtime",
        *,
        missing: Missing = "error",
        **options: Any,
    ) -> BridgeStream:
        """Open a stream.

        Args:
            queries: As in :class:`plugin_bridge.StreamingSeparator`, like the next two.
            sample_rate: In Hz.
            channels: At least 1.
            mode: "render", "mix", "track", "live" or :class:`plugin_bridge.WindowSeconds`.
            contract: "realtime": :meth:`BridgeStream.process` never waits. "render": it waits
                for every answer.
            missing: What frames are that nobody answers in the contract "render": an "error", or
                the "mixture" or "silence" in their place, told on standard error and counted as
                ``failed_frames``.
            options: ``outputs``, ``strength`` and ``remainder_db``, as in the engine;
                ``slack``, the frames that an answer may take, part of the latency: by default
                what the server proposes, and none in the contract "render", in which such a
                stream stays; ``max_block``, the most frames in one message (8192): longer blocks
                go in several; ``model``, the name of a model of the server, by default its
                own, or in mode "live" one that can be played through.

        Raises:
            BridgeError: No server answers, or it refuses.
            AddressError: The server's token cannot be read.
            QueryError, ModeError, BundleError, ValueError: As the engine.
        """
        if self._closed:
            raise BridgeError("the client is closed; make another one")
        request = StreamRequest.of(queries, sample_rate, channels, mode, contract, **options)
        link = self._connect()
        stream = BridgeStream(self._keeper, request, link, link.open(request.message()), missing)
        self._keeper.add(stream)
        return stream

    def models(self) -> dict[str, list[str]]:
        """The models that streams can be opened with, and the modes that each keeps to.

        Raises:
            BridgeError, AddressError: As :meth:`statistics`.
        """
        return {model.name: model.modes for model in self._listed("").models}

    def known_queries(self, model: str = "") -> list[str]:
        """Queries that take no time to be understood, of a model or the server's own.

        Raises:
            BridgeError, AddressError: As :meth:`statistics`.
            BundleError: The server has no such model.
        """
        return self._listed(model).queries

    def statistics(self, prometheus: bool = False) -> Any:
        """Figures of the server, as ``audiosep serve --status`` shows them.

        Args:
            prometheus: Give Prometheus' text instead of a dictionary.

        Raises:
            BridgeError: No server answers, or it refuses.
            AddressError: The server's token cannot be read.
        """
        kind = "prometheus" if prometheus else "json"
        text = ask(self.address, kind, self._timeout, self._token)
        return text if prometheus else json.loads(text)

    def close(self) -> None:
        """Close all streams; what they held back is lost."""
        self._closed = True
        self._keeper.close()
        for stream in self._keeper.streams:
            stream.close()

    def _listed(self, model: str) -> Listed:
        with contextlib.closing(self._connect()) as link:
            link.greet()
            listed = link.ask(link.exchange.listing, model).message
        assert isinstance(listed, Listed)
        return listed

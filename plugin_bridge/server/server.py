"""The server: listens, lets clients in, counts, and goes in good order."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from audiosep_core.model.installed import DEFAULT_MODEL
from audiosep_core.runtime.device import Device
from audiosep_core.separator import Separator
from plugin_bridge.address import Address, TcpAddress
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import Welcome
from plugin_bridge.protocol.server_side import ServerProtocol
from plugin_bridge.protocol.wire import ProtocolError
from plugin_bridge.server.connection import Connection, Executors
from plugin_bridge.server.engines import ServedModel, ServedModels
from plugin_bridge.server.figures import Histogram
from plugin_bridge.server.listener import listening
from plugin_bridge.server.prometheus import exposition
from plugin_bridge.server.stream import COUNTS, ServedStream

log = logging.getLogger("audiosep.bridge")

#: Within these the server is gone, whatever runs.
_DRAIN_SECONDS = 3.0
_OPENING_THREADS = 4
#: Before the next try, after a client could not be let in (no descriptors left, say).
_RETRY_SECONDS = 0.1


class BridgeServer:
    """Serves streams of one model, and of others by name, to clients of one address.

    Args:
        address: Where to listen.
        model: Name of an installed model or path of a bundle.
        device: "auto", "cpu" or "cuda".
        threads: Threads of the network on the CPU; 0 takes all cores.
        packs: Query packs of the model.
        limits: Caps.
        batches: Run windows of several streams in one call of the network.

    Raises:
        BundleError, DeviceError: As :class:`audiosep_core.Separator`; or a pack does not fit.
    """

    def __init__(
        self,
        address: Address,
        model: str | Path = DEFAULT_MODEL,
        device: Device = "auto",
        threads: int = 0,
        packs: Sequence[Path] = (),
        limits: Limits | None = None,
        batches: bool = True,
    ) -> None:
        self.address = address
        self._limits = limits or Limits()

        def load(name: str | Path) -> ServedModel:
            # A DAW needs the cores, too.
            separator = Separator(name, device, threads, spinning=False)
            return ServedModel(separator, separator.bundle.config.name, batches)

        own = load(model)
        for pack in packs:
            own.separator.encoder.add_pack(pack)
        own.warm_up()
        self._models = ServedModels(own, load)
        version = importlib.metadata.version("audiosep")
        self._welcome = Welcome(0, f"audiosep/{version}", own.name, self._limits.as_dict())
        self._connections: dict[int, Connection] = {}
        self._lock = threading.Lock()
        self._count = 0
        self._refused = 0
        self._ended = dict.fromkeys(COUNTS, 0)
        self._waits, self._answers = Histogram(), Histogram()
        self._started = time.monotonic()
        self._stopping = threading.Event()

    def serve(
        self,
        ready: Callable[[Address], object] = lambda address: None,
        idle_exit: float | None = None,
        inherited: socket.socket | None = None,
    ) -> None:
        """Serve until :meth:`stop`; what has come in by then is still answered.

        Args:
            ready: Called with the address once clients can connect.
            idle_exit: Seconds without a client after which it ends by itself.
            inherited: Listens at the address already.

        Raises:
            AddressError: Another server listens there, or the address cannot be had.
        """
        with contextlib.ExitStack() as stack:
            listener, self.address, token = stack.enter_context(listening(self.address, inherited))
            executors = Executors(
                ThreadPoolExecutor(_OPENING_THREADS, "opening"), ThreadPoolExecutor(1, "queries")
            )
            for executor in (executors.opening, executors.encoding):
                stack.callback(executor.shutdown, wait=False, cancel_futures=True)
            stack.callback(self._shut_down)
            waker, woken = map(stack.enter_context, socket.socketpair())
            accepting = threading.Thread(
                target=self._accept,
                args=(listener, woken, token, executors),
                name="accept",
                daemon=True,
            )
            accepting.start()
            log.info("ready", extra={"address": str(self.address), "model": self._models.own.name})
            ready(self.address)
            self._wait(idle_exit)
            waker.close()
            accepting.join()
            listener.close()
        for model in self._models.all():
            model.close()
        log.info("stopped")

    def _wait(self, idle_exit: float | None) -> None:
        """Until somebody stops the server, or nobody has wanted it for long."""
        if idle_exit is None:
            self._stopping.wait()
            return
        seen, until = -1, 0.0
        while not self._stopping.wait(min(1.0, idle_exit / 4)):
            now = time.monotonic()
            with self._lock:
                wanted = bool(self._connections) or self._count != seen
                seen = self._count
            if wanted:
                until = now + idle_exit
            elif now >= until:
                log.info("idle")
                self._stopping.set()

    def stop(self) -> None:
        """End :meth:`serve`; may be called by a signal handler."""
        self._stopping.set()

    def statistics(self) -> dict[str, Any]:
        """Figures of the server and of its streams; nothing of their sound or queries."""
        with self._lock:
            connections = list(self._connections.values())
        models = [model.statistics() for model in self._models.all()]
        seconds = time.monotonic() - self._started
        busy = sum(model["busy_seconds"] for model in models)
        served = [
            (connection, stream) for connection in connections for stream in connection.streams()
        ]
        streams = [
            {"client": connection.number, "name": connection.name, **stream.statistics()}
            for connection, stream in served
        ]
        return {
            "server": self._welcome.server,
            "uptime_seconds": round(seconds, 3),
            "clients": len(connections),
            "clients_ever": self._count,
            "clients_refused": self._refused,
            "load": round(busy / seconds, 4),
            "totals": self._totals([stream for _, stream in served]),
            "models": models,
            "streams": streams,
        }

    def _accept(
        self, listener: socket.socket, woken: socket.socket, token: str, executors: Executors
    ) -> None:
        listener.setblocking(False)
        selector = selectors.DefaultSelector()
        for end in (listener, woken):
            selector.register(end, selectors.EVENT_READ)
        with selector:
            while all(key.fileobj is listener for key, _ in selector.select()):
                self._accept_one(listener, token, executors)

    def _accept_one(self, listener: socket.socket, token: str, executors: Executors) -> None:
        try:
            link, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            log.error("not accepted", extra={"reason": error.strerror})
            self._stopping.wait(_RETRY_SECONDS)
            return
        try:
            self._let_in(link, token, executors)
        except (OSError, RuntimeError) as error:
            # No descriptor or no thread is left for this one.
            log.error("not accepted", extra={"reason": str(error)})
            link.close()

    def _let_in(self, link: socket.socket, token: str, executors: Executors) -> None:
        if isinstance(self.address, TcpAddress):
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        protocol = ServerProtocol(self._limits, self._welcome, token)
        with self._lock:
            self._count += 1
            number = self._count
            connections = list(self._connections.values())
            strangers = [known for known in connections if not known.welcomed]
            full = len(connections) - len(strangers) >= self._limits.clients
            self._refused += full
        if len(strangers) >= self._limits.strangers:
            # Whoever is silent for longest makes room: nobody is locked out by silence.
            strangers[0].drop()
        if full:
            most = self._limits.clients
            link.settimeout(_RETRY_SECONDS)
            with contextlib.suppress(OSError):
                busy = ProtocolError("busy", f"this server has {most} clients; close one")
                link.sendall(protocol.fatal(busy))
            link.close()
            return
        connection = Connection(
            number,
            link,
            protocol,
            self._limits,
            self._models,
            executors,
            self._report,
            self._forget,
            self._count_ended,
        )
        with self._lock:
            self._connections[number] = connection
        connection.start()

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._connections.pop(connection.number, None)

    def _count_ended(self, stream: ServedStream) -> None:
        """What a stream counted stays in the totals."""
        with self._lock:
            for name, count in stream.counts().items():
                self._ended[name] += count
            self._waits.merge(stream.estimator.waits)
            self._answers.merge(stream.answers)

    def _totals(self, streams: list[ServedStream]) -> dict[str, Any]:
        """Counters since the start, of streams that have ended, too: they never fall."""
        with self._lock:
            totals: dict[str, Any] = dict(self._ended)
            waits, answers = self._waits.copy(), self._answers.copy()
        for stream in streams:
            for name, count in stream.counts().items():
                totals[name] += count
            waits.merge(stream.estimator.waits)
            answers.merge(stream.answers)
        return {**totals, "network_wait": waits.buckets(), "answer": answers.buckets()}

    def _report(self, kind: str, stream: ServedStream | None) -> bytes:
        if stream is not None:
            return json.dumps(stream.statistics()).encode()
        figures = self.statistics()
        return exposition(figures) if kind == "prometheus" else json.dumps(figures).encode()

    def _shut_down(self) -> None:
        with self._lock:
            connections = list(self._connections.values())
        goodbyes = [
            threading.Thread(target=connection.shut_down, args=(_DRAIN_SECONDS,), daemon=True)
            for connection in connections
        ]
        for thread in goodbyes:
            thread.start()
        for thread in goodbyes:
            thread.join()


@contextlib.contextmanager
def running(server: BridgeServer) -> Iterator[Address]:
    """A server on threads of this process, for scripts and benches: its address.

    Raises:
        AddressError: As :meth:`BridgeServer.serve`.
    """
    ready: list[Any] = []
    event = threading.Event()

    def announce(address: Address) -> None:
        ready.append(address)
        event.set()

    def serve() -> None:
        try:
            server.serve(announce)
        except Exception as error:
            ready.append(error)
            event.set()

    thread = threading.Thread(target=serve, name="server")
    thread.start()
    event.wait()
    try:
        if isinstance(ready[0], Exception):
            raise ready[0]
        yield ready[0]
    finally:
        server.stop()
        thread.join()

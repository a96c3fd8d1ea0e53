"""One client: a thread that reads what it sends and hands it to its streams."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from concurrent.futures import Executor, Future
from typing import Any

from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import Change, Open, Statistics
from plugin_bridge.protocol.server_side import Block, Event, Reply, Request, ServerProtocol
from plugin_bridge.protocol.wire import ProtocolError, Type
from plugin_bridge.server.engines import Models, StreamSettings
from plugin_bridge.server.stream import PendingChange, PreparedChange, RefusedError, ServedStream

_READ_BYTES = 1 << 16
#: A client that takes nothing for so long is gone.
_SEND_SECONDS = 10.0
#: Requests of one client that wait for the text encoder; it is read no further meanwhile.
_MOST_PREPARING = 4

log = logging.getLogger("audiosep.bridge")


class Connection:
    """Serves one client until it goes, breaks the protocol, or falls silent.

    Args:
        number: Of the connection, for the log.
        link: The socket; the connection closes it.
        protocol: What may be said.
        limits: Caps.
        models: What can be run.
        preparing: Where queries are encoded and engines are built, away from all audio.
        report: Makes the answer to a request for the server's figures.
        over: Called when the connection has ended.
    """

    def __init__(
        self,
        number: int,
        link: socket.socket,
        protocol: ServerProtocol,
        limits: Limits,
        models: Models,
        preparing: Executor,
        report: Any,
        over: Any,
    ) -> None:
        self.number = number
        self._in = link
        # Two objects for one socket, since either keeps a timeout of its own.
        self._out = link.dup()
        self._out.settimeout(_SEND_SECONDS)
        self._sending = threading.Lock()
        self._protocol = protocol
        self._limits = limits
        self._models = models
        self._preparing = preparing
        self._report = report
        self._over = over
        self._room = threading.BoundedSemaphore(_MOST_PREPARING)
        self._streams: dict[int, ServedStream] = {}
        self._settings: dict[int, StreamSettings] = {}
        self._lock = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=f"client {number}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def streams(self) -> list[ServedStream]:
        """Those that are open."""
        with self._lock:
            return list(self._streams.values())

    def shut_down(self, seconds: float) -> None:
        """Let every stream work off what has come in, say goodbye, and end."""
        until = time.monotonic() + seconds
        for stream in self.streams():
            stream.close(drain=True)
        for stream in self.streams():
            stream.join(max(0.0, until - time.monotonic()))
        self.refuse(ProtocolError("shutdown", "the server shuts down"))
        self._thread.join(max(0.0, until - time.monotonic()))

    def refuse(self, error: ProtocolError) -> None:
        """Say why, and end."""
        self._send(self._protocol.fatal(error))
        self._hang_up()

    def _run(self) -> None:
        try:
            self._read()
        except ProtocolError as error:
            log.warning("refused", extra={"client": self.number, "reason": error.code})
            self._send(self._protocol.fatal(error))
        except OSError as error:
            log.info("lost", extra={"client": self.number, "reason": error.strerror or "timeout"})
        except Exception as error:
            self._fail(error)
        finally:
            self._end()

    def _read(self) -> None:
        buffer = bytearray(_READ_BYTES)
        view = memoryview(buffer)
        until = time.monotonic() + self._limits.hello_seconds
        self._in.settimeout(self._limits.hello_seconds)
        welcomed = False
        while True:
            try:
                count = self._in.recv_into(buffer)
            except TimeoutError:
                code = "idle" if welcomed else "hello"
                raise ProtocolError(code, "nothing was heard for too long") from None
            if not count:
                return
            for event in self._protocol.receive(view[:count]):
                self._handle(event)
            if not welcomed:
                welcomed = self._protocol.welcomed
                # Whoever sends byte by byte has no more time than others.
                left = self._limits.idle_seconds if welcomed else until - time.monotonic()
                self._in.settimeout(max(left, 1e-3))

    def _handle(self, event: Event) -> None:
        if isinstance(event, Block):
            stream = self._streams.get(event.stream)
            if stream is not None:
                stream.put_block(event)
        elif isinstance(event, Reply):
            self._send(event.data)
        elif isinstance(event.message, Statistics):
            self._send_report(event, event.message)
        elif event.type == Type.OPEN:
            self._prepare(self._open, event)
        elif event.type == Type.CHANGE:
            assert isinstance(event.message, Change)
            ready = self._prepare(self._change, event)
            change = PendingChange(event.sequence, event.message.position, ready)
            self._streams[event.stream].put_change(change)
        elif event.type == Type.CLOSE:
            self._close(event)
        else:
            self._streams[event.stream].put_request(event)

    def _prepare(self, task: Any, request: Request) -> Future[Any]:
        self._room.acquire()
        future: Future[Any] = self._preparing.submit(task, request)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def _open(self, request: Request) -> None:
        message, number = request.message, request.stream
        assert isinstance(message, Open)
        try:
            model = self._models.get(message.model)
            settings = StreamSettings(message, model)
            stream = ServedStream(
                number,
                settings.engine(),
                settings.estimator,
                message.contract,
                settings.slack,
                message.max_block,
                model.name,
                self._protocol,
                self._send,
                self._fail,
            )
        except RefusedError as failed:
            self._protocol.closed(number)
            self._send(self._protocol.send(number, request.sequence, failed.failure))
            return
        except Exception as error:
            self._fail(error)
            return
        with self._lock:
            self._streams[number] = stream
            self._settings[number] = settings
            ended = self._ended
        if ended:
            stream.close()
            return
        self._protocol.opened(number, message.channels, message.max_block)
        log.info("opened", extra={"client": self.number, **_facts(stream)})
        self._send(self._protocol.send(number, request.sequence, stream.opened()))

    def _change(self, request: Request) -> PreparedChange:
        assert isinstance(request.message, Change)
        return self._settings[request.stream].change(request.message)

    def _close(self, request: Request) -> None:
        with self._lock:
            stream = self._streams.pop(request.stream)
        stream.close(drain=True)
        stream.join()
        self._settings.pop(request.stream)
        self._protocol.closed(request.stream)
        log.info("closed", extra={"client": self.number, **_facts(stream)})
        self._send(self._protocol.send_plain(Type.DONE, request.stream, request.sequence))

    def _send_report(self, request: Request, message: Statistics) -> None:
        stream = self._streams.get(request.stream)
        payload = self._report(message.format, stream)
        self._send(
            self._protocol.send_plain(Type.REPORT, request.stream, request.sequence, payload)
        )

    def _send(self, data: bytes) -> None:
        """Send, or hang up on a client that takes nothing."""
        try:
            with self._sending:
                self._out.sendall(data)
        except OSError:
            self._hang_up()

    def _fail(self, error: Exception) -> None:
        """Something is wrong with this program, not with the client."""
        log.error("internal", extra={"client": self.number}, exc_info=error)
        self.refuse(ProtocolError("internal", "the server failed; its log says where"))

    def _hang_up(self) -> None:
        """Wake the thread that reads, and whoever sends."""
        with contextlib.suppress(OSError):
            self._in.shutdown(socket.SHUT_RDWR)

    def _end(self) -> None:
        self._hang_up()
        with self._lock:
            self._ended = True
            streams = list(self._streams.values())
            self._streams.clear()
        for stream in streams:
            stream.close()
        for stream in streams:
            stream.join()
        self._in.close()
        self._out.close()
        self._over(self)


def _facts(stream: ServedStream) -> dict[str, Any]:
    """What the log says of a stream; nothing of its sound or its queries."""
    engine = stream.engine
    return {
        "stream": stream.number,
        "model": stream.model,
        "sample_rate": engine.sample_rate,
        "channels": engine.channels,
        "contract": stream.contract,
        "blocks": stream.blocks,
        "late_blocks": stream.late_blocks,
        "substitutions": stream.estimator.late,
    }

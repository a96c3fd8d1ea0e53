"""One client: a thread that reads what it sends and hands it to its streams."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import Change, Failure, Listed, Listing, Open, Statistics
from plugin_bridge.protocol.request import StreamRequest
from plugin_bridge.protocol.server_side import Block, Event, Reply, Request, ServerProtocol
from plugin_bridge.protocol.wire import ProtocolError, Type
from plugin_bridge.server.changes import PendingChange, PreparedChange
from plugin_bridge.server.engines import ServedModels
from plugin_bridge.server.memory import MemoryBudget
from plugin_bridge.server.outlet import Outlet
from plugin_bridge.server.refusal import RefusedError, refusing
from plugin_bridge.server.stream import ServedStream

_READ_BYTES = 1 << 16
#: A client that takes nothing for so long is gone.
_SEND_SECONDS = 10.0
#: In which a client takes the last message at the least.
_GOODBYE_SECONDS = 0.2
#: Requests of one client that wait for the text encoder; it is read no further meanwhile.
_MOST_PREPARING = 4

log = logging.getLogger("audiosep.bridge")


class _HungUpError(Exception):
    """Nothing that the client sent is worked off any more."""


@dataclasses.dataclass(frozen=True)
class Executors:
    """Threads for what takes its time; nothing is sent on them.

    Attributes:
        opening: Builds engines and loads models.
        encoding: Encodes the queries of changes.
    """

    opening: Executor
    encoding: Executor


class Connection:
    """Serves one client until it goes, breaks the protocol, or falls silent.

    Three kinds of threads meet here. The connection's own reads; those that prepare open streams;
    each stream's own answers, and closes it. What changes the protocol object
    (``receive``, ``opened``, ``closed``) happens under its mutex. What only makes bytes (``send``
    and its kin) may be called on any thread; one lock keeps the frames on the wire apart.

    Args:
        number: Of the connection, for the log.
        link: The socket; the connection closes it.
        protocol: What may be said.
        limits: Caps.
        models: What can be run.
        executors: Where queries are encoded and engines are built, away from all audio.
        report: Makes the answer to a request for the server's figures.
        over: Called when the connection has ended.
        gone: Told of every stream that has ended.
    """

    def __init__(
        self,
        number: int,
        link: socket.socket,
        protocol: ServerProtocol,
        limits: Limits,
        models: ServedModels,
        executors: Executors,
        report: Any,
        over: Any,
        gone: Callable[[ServedStream], None],
    ) -> None:
        self.number = number
        self._in = link
        # Two objects for one socket, since either keeps a timeout of its own.
        self._out = link.dup()
        self._out.settimeout(_SEND_SECONDS)
        self._sending = threading.Lock()
        self._protocol = protocol
        self._mutex = threading.Lock()
        self._limits = limits
        self._models = models
        self._executors = executors
        self._gone = gone
        self._report = report
        self._over = over
        self._room = threading.BoundedSemaphore(_MOST_PREPARING)
        self._streams: dict[int, ServedStream] = {}
        self._memory = MemoryBudget(limits.client_bytes)
        self._lock = threading.Lock()
        self._ended = self._hung_up = False
        self._thread = threading.Thread(target=self._run, name=f"client {number}", daemon=True)

    @property
    def name(self) -> str:
        """What the client calls itself."""
        return self._protocol.client

    @property
    def welcomed(self) -> bool:
        """Whether the client said who it is."""
        return self._protocol.welcomed

    def drop(self) -> None:
        """End without a word; never waits."""
        self._hang_up()

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
        left = max(_GOODBYE_SECONDS, until - time.monotonic())
        with contextlib.suppress(OSError):
            # It may be gone already.
            self._out.settimeout(left)
        # A client that takes nothing is told nothing.
        if self._sending.acquire(timeout=left):
            self._sending.release()
            self.refuse(ProtocolError("shutdown", "the server shuts down"))
        self._hang_up()
        self._thread.join(max(0.0, until - time.monotonic()))

    def refuse(self, error: ProtocolError) -> None:
        """Say why, and end."""
        self._send(self._protocol.fatal(error))
        self._hang_up()

    def _run(self) -> None:
        try:
            self._read()
        except _HungUpError:
            # Whoever hung up has said why.
            pass
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
            arrived = time.monotonic()
            events = self._protocol.receive(view[:count])
            while (event := self._next_event(events)) is not None:
                self._handle(event, arrived)
            if not welcomed:
                welcomed = self._protocol.welcomed
                # Whoever sends byte by byte has no more time than others.
                left = self._limits.idle_seconds if welcomed else until - time.monotonic()
                self._in.settimeout(max(left, 1e-3))

    @property
    def _locked_protocol(self) -> ServerProtocol:
        """The protocol, for what changes it: only for who holds the mutex."""
        assert self._mutex.locked(), "whoever changes the protocol holds its mutex"
        return self._protocol

    def _next_event(self, events: Iterator[Event]) -> Event | None:
        """The next event of :meth:`ServerProtocol.receive`, which moves on as it is read."""
        with self._mutex:
            return next(events, None)

    def _handle(self, event: Event, arrived: float) -> None:
        if self._hung_up:
            raise _HungUpError
        if isinstance(event, Reply):
            self._send(event.data)
            return
        if isinstance(event, Block):
            stream = self._streams.get(event.stream)
            if stream is not None:
                stream.put_block(event, arrived)
            return
        if isinstance(event.message, Statistics):
            self._send_report(event, event.message)
        elif isinstance(event.message, Listing):
            self._send_listed(event, event.message)
        elif event.type == Type.OPEN:
            self._prepare(self._open, event, self._executors.opening)
        elif (stream := self._streams.get(event.stream)) is None:
            failure = Failure("no-stream", f"stream {event.stream} is being closed")
            self._send(self._protocol.send(event.stream, event.sequence, failure))
        elif event.type == Type.CHANGE:
            assert isinstance(event.message, Change)
            self._change(stream, event, event.message)
        else:
            stream.put_request(event)

    def _change(self, stream: ServedStream, event: Request, message: Change) -> None:
        if stream.waiting_changes >= self._limits.changes:
            most = f"{self._limits.changes} changes of the stream wait for their position already"
            failure = Failure("limit", most)
            self._send(self._protocol.send(event.stream, event.sequence, failure))
            return
        if stream.is_quick(message):
            ready: Future[PreparedChange] = Future()
            try:
                ready.set_result(stream.prepare(message))
            except RefusedError as error:
                ready.set_exception(error)
        else:
            # What waits for the text encoder holds up no stream that is being opened.
            ready = self._prepare(stream.prepare, message, self._executors.encoding)
        stream.put_change(PendingChange(event.sequence, message.position, ready))

    def _prepare(self, task: Callable[[Any], Any], asked: Any, executor: Executor) -> Future[Any]:
        self._room.acquire()
        if self._hung_up:
            # The executors may have ended meanwhile.
            raise _HungUpError
        future: Future[Any] = executor.submit(task, asked)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def _open(self, request: Request) -> None:
        message, number = request.message, request.stream
        assert isinstance(message, Open)
        try:
            with refusing():
                asked = StreamRequest.heard(message)
            self._check_answers(asked)
            model = self._models.get(message.model, asked.format.mode)
            outlet = Outlet(self._protocol, self._send, self._fail, self._closed)
            most = self._limits.window_seconds
            stream = ServedStream(number, asked, model, outlet, self._memory, most)
        except RefusedError as failed:
            self._memory.release(number)
            with self._mutex:
                self._locked_protocol.closed(number)
            refused = self._protocol.send(number, request.sequence, failed.failure)
            # A client that takes nothing holds up nobody else's streams.
            threading.Thread(target=self._send, args=(refused,), daemon=True).start()
            return
        except Exception as error:
            self._fail(error)
            return
        with self._lock:
            self._streams[number] = stream
            ended = self._ended
        if ended:
            stream.close()
            return
        with self._mutex:
            self._locked_protocol.opened(number, message.channels, message.max_block)
        log.info("opened", extra={"client": self.number, **_facts(stream)})
        stream.announce(request.sequence)

    def _check_answers(self, asked: StreamRequest) -> None:
        size, most = asked.answer_bytes, self._limits.answer_bytes
        if size > most:
            refused = (
                f"an answer would have {size} bytes, of {most} at most; ask for shorter blocks"
            )
            raise RefusedError(Failure("limit", refused))

    def _closed(self, request: Request) -> None:
        """A stream has worked off all that came before its CLOSE; called on its thread."""
        with self._lock:
            stream = self._streams.pop(request.stream, None)
        if stream is None:
            return
        self._memory.release(request.stream)
        with self._mutex:
            self._locked_protocol.closed(request.stream)
        self._gone(stream)
        log.info("closed", extra={"client": self.number, **_facts(stream)})
        self._send(self._protocol.send_plain(Type.DONE, request.stream, request.sequence))

    def _send_report(self, request: Request, message: Statistics) -> None:
        stream = self._streams.get(request.stream)
        payload = self._report(message.format, stream)
        self._send(
            self._protocol.send_plain(Type.REPORT, request.stream, request.sequence, payload)
        )

    def _send_listed(self, request: Request, message: Listing) -> None:
        try:
            answer: Listed | Failure = self._models.listed(message.model)
        except RefusedError as refused:
            answer = refused.failure
        self._send(self._protocol.send(request.stream, request.sequence, answer))

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
        """Wake the thread that reads, and whoever sends; what is in its buffer is left."""
        self._hung_up = True
        with contextlib.suppress(OSError):
            self._in.shutdown(socket.SHUT_RDWR)

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            streams = list(self._streams.values())
            self._streams.clear()
        # Whoever finds the connection closed finds its streams gone.
        self._hang_up()
        for stream in streams:
            stream.close()
        for stream in streams:
            stream.join()
            self._gone(stream)
        self._in.close()
        self._out.close()
        self._over(self)


def _facts(stream: ServedStream) -> dict[str, Any]:
    """What the log says of a stream; nothing of its sound or its queries."""
    engine = stream.engine
    return {
        "stream": stream.number,
        "model": stream.model.name,
        "sample_rate": engine.sample_rate,
        "channels": engine.channels,
        "contract": stream.contract,
        "blocks": stream.blocks,
        "late_blocks": stream.late_blocks,
        "substitutions": stream.estimator.late,
    }

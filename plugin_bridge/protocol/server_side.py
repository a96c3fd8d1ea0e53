"""What a server may be told, and when; knows no sockets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plugin_bridge.protocol import messages, proof, wire
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import (
    Cancel,
    Challenge,
    Change,
    Failure,
    Hello,
    Listing,
    Message,
    MessageError,
    Open,
    Proof,
    QueryMessage,
    Reset,
    Statistics,
    Welcome,
)
from plugin_bridge.protocol.wire import VERSIONS, Decoder, Flag, Frame, ProtocolError, Type

#: Payload that a client may send before it said who it is.
_HELLO_BYTES = 4096
_LARGEST_SLACK_SECONDS = 60
_CLIENT_CHARACTERS = 64


@dataclasses.dataclass(frozen=True)
class Request:
    """A client asks for something; ``stream`` and ``sequence`` go into the answer.

    Attributes:
        message: What it asks for; None for the types without JSON (FLUSH, CLOSE, SNAPSHOT).
        payload: Of a SNAPSHOT.
    """

    type: Type
    stream: int
    sequence: int
    message: Open | Change | Reset | Cancel | Statistics | Listing | None = None
    payload: bytes = b""


class Block(NamedTuple):
    """A client sent audio: ``audio`` is (channels, frames) float32."""

    stream: int
    sequence: int
    audio: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Reply:
    """The protocol answers by itself: bytes that go back to the client."""

    data: bytes


Event = Request | Block | Reply


class ServerProtocol:
    """One connection, as a server sees it.

    ``receive``, ``opened`` and ``closed`` change it: one thread at a time may call them, and read
    on in what ``receive`` gives. The others only make bytes, and may be called on any thread.

    Args:
        limits: Caps.
        welcome: What to answer to a HELLO; the version is filled in.
        token: What a client must know; empty for nothing.

    Attributes:
        client: What the client calls itself, once it has.
    """

    def __init__(self, limits: Limits, welcome: Welcome, token: str = "") -> None:
        self._limits = limits
        self._welcome = welcome
        self._token = token
        self._decoder = Decoder(_HELLO_BYTES)
        self._version = 0
        self.client = ""
        self._next = 0
        #: What a client that was challenged said, and the proof that is due.
        self._challenged: tuple[Hello, str] | None = None
        #: Stream to channels and largest block; None while it is being opened.
        self._streams: dict[int, tuple[int, int] | None] = {}

    @property
    def welcomed(self) -> bool:
        """Whether the client said who it is."""
        return self._version > 0

    def receive(self, data: bytes | bytearray | memoryview) -> Iterator[Event]:
        """Take bytes, give what they mean.

        Raises:
            ProtocolError: The client broke the protocol: send :meth:`fatal`, then close.
        """
        self._decoder.feed(data)
        while (frame := self._decoder.next()) is not None:
            if frame.sequence != self._next:
                raise ProtocolError(
                    "sequence" if self._version else "hello",
                    f"message {frame.sequence} came where {self._next} was expected",
                )
            self._next += 1
            if not self._version:
                yield self._greet(frame)
                continue
            try:
                event = self._event(frame)
            except MessageError as error:
                failure = Failure(error.code, str(error))
                event = Reply(self.send(frame.stream, frame.sequence, failure))
            if event is not None:
                yield event

    def send(self, stream: int, sequence: int, message: Message) -> bytes:
        """The bytes of an answer with content."""
        kind = messages.TYPES[type(message)]
        return self._frame(kind, stream, sequence, messages.encode(message))

    def send_plain(self, kind: Type, stream: int, sequence: int, payload: bytes = b"") -> bytes:
        """The bytes of an answer whose payload is ready, or empty."""
        return self._frame(kind, stream, sequence, payload)

    def send_audio(
        self, stream: int, sequence: int, rows: NDArray[np.float32], substituted: bool
    ) -> bytes:
        """The bytes of audio; rows and channels one behind the other, (..., frames)."""
        flags = Flag.SUBSTITUTED if substituted else 0
        payload = np.ascontiguousarray(rows, "<f4").tobytes()
        return self._frame(Type.AUDIO, stream, sequence, payload, flags)

    def fatal(self, error: ProtocolError) -> bytes:
        """What to say before the connection is closed; nothing to what is no client of ours."""
        if error.code == "magic":
            return b""
        return self.send(0, self._next, Failure(error.code, str(error), fatal=True))

    def opened(self, stream: int, channels: int, max_block: int) -> None:
        """The stream that was asked for exists: audio may come."""
        self._streams[stream] = (channels, max_block)

    def closed(self, stream: int) -> None:
        """The stream does not exist, or no longer: its number is free."""
        self._streams.pop(stream, None)

    def _frame(
        self, kind: Type, stream: int, sequence: int, payload: bytes = b"", flags: int = 0
    ) -> bytes:
        frame = Frame(kind, stream, sequence, payload, flags)
        return frame.encode(self._version or wire.FIRST_VERSION)

    def _greet(self, frame: Frame) -> Reply:
        """What a client says until it is known who it is."""
        expected = Type.PROOF if self._challenged else Type.HELLO
        if frame.type != expected or frame.stream:
            raise ProtocolError("hello", f"{expected.name} must come here, on stream 0")
        try:
            message = messages.decode(frame.type, frame.payload)
        except MessageError as error:
            raise ProtocolError(error.code, str(error)) from None
        if isinstance(message, Hello):
            return self._hello(message)
        assert isinstance(message, Proof) and self._challenged is not None
        hello, due = self._challenged
        if not proof.is_same(message.proof, due):
            raise ProtocolError("token", "the token is wrong")
        return self._welcome_to(hello)

    def _hello(self, hello: Hello) -> Reply:
        if not self._token:
            return self._welcome_to(hello)
        if not hello.challenge:
            if not proof.is_same(hello.token, self._token):
                raise ProtocolError("token", "the token is missing or wrong")
            return self._welcome_to(hello)
        if not proof.LEAST_CHALLENGE <= len(hello.challenge) <= proof.MOST_CHALLENGE:
            raise ProtocolError(
                "token",
                f"a challenge has {proof.LEAST_CHALLENGE} to {proof.MOST_CHALLENGE} characters",
            )
        own = proof.new_challenge()
        said = hello.challenge, own
        self._challenged = hello, proof.proof(self._token, "client", *said)
        answer = Challenge(own, proof.proof(self._token, "server", *said))
        return Reply(self.send(0, 0, answer))

    def _welcome_to(self, hello: Hello) -> Reply:
        common = set(hello.versions) & set(VERSIONS)
        if not common:
            raise ProtocolError(
                "version", f"this server speaks {list(VERSIONS)}, the client {hello.versions[:16]}"
            )
        answer = dataclasses.replace(self._welcome, version=max(common))
        data = self.send(0, self._next - 1, answer)
        self._version = answer.version
        self.client = hello.client[:_CLIENT_CHARACTERS]
        self._decoder.version = answer.version
        self._decoder.largest = max(self._limits.audio_bytes, self._limits.control_bytes)
        self._challenged = None
        return Reply(data)

    def _event(self, frame: Frame) -> Event | None:
        kind, stream = frame.type, frame.stream
        if kind == Type.AUDIO:
            return self._audio(frame)
        if kind == Type.SNAPSHOT and self._version > 1:
            self._known(stream)
            return Request(Type.SNAPSHOT, stream, frame.sequence, payload=frame.payload)
        if len(frame.payload) > self._limits.control_bytes:
            raise ProtocolError(
                "too-large",
                f"a control payload may have {self._limits.control_bytes} bytes, this one has "
                f"{len(frame.payload)}",
            )
        if kind == Type.PING:
            return Reply(self._frame(Type.PONG, stream, frame.sequence, frame.payload))
        if kind == Type.OPEN:
            return self._open(frame)
        if kind == Type.STATISTICS:
            if stream:
                self._known(stream)
            message = messages.decode(kind, frame.payload)
            assert isinstance(message, Statistics)
            return Request(Type.STATISTICS, stream, frame.sequence, message)
        if kind == Type.LIST and self._version > 1:
            listing = messages.decode(kind, frame.payload)
            assert isinstance(listing, Listing)
            return Request(Type.LIST, stream, frame.sequence, listing)
        if kind == Type.CHANGE:
            self._known(stream)
            change = messages.decode(kind, frame.payload)
            assert isinstance(change, Change)
            self._check_queries(change.queries)
            return Request(Type.CHANGE, stream, frame.sequence, change)
        if kind == Type.RESET or (kind == Type.CANCEL and self._version > 1):
            self._known(stream)
            asked = messages.decode(kind, frame.payload if self._version > 1 else b"")
            assert isinstance(asked, Reset | Cancel)
            return Request(Type(kind), stream, frame.sequence, asked)
        if kind in (Type.FLUSH, Type.CLOSE):
            self._known(stream)
            return Request(Type(kind), stream, frame.sequence)
        if kind & wire.OPTIONAL:
            return None
        raise ProtocolError("type", f"a client does not send messages of type {kind}")

    def _open(self, frame: Frame) -> Request:
        stream, limits = frame.stream, self._limits
        if not stream or stream in self._streams:
            raise ProtocolError("stream", f"stream {stream} is in use; open another number")
        if len(self._streams) >= limits.streams:
            raise MessageError(f"a connection may have {limits.streams} streams", "limit")
        message = messages.decode(Type.OPEN, frame.payload)
        assert isinstance(message, Open)
        for name, value, most in (
            ("channels", message.channels, limits.channels),
            ("max_block", message.max_block, limits.block_frames),
            ("sample_rate", message.sample_rate, limits.sample_rate),
            ("slack", message.slack or 0, _LARGEST_SLACK_SECONDS * message.sample_rate),
        ):
            least = 0 if name == "slack" else 1
            if not least <= value <= most:
                raise MessageError(f"OPEN.{name} must be from {least} to {most}", "limit")
        self._check_queries(message.queries)
        self._streams[stream] = None
        return Request(Type.OPEN, stream, frame.sequence, message)

    def _audio(self, frame: Frame) -> Block:
        channels, max_block = self._known(frame.stream)
        frames, rest = divmod(len(frame.payload), 4 * channels)
        if rest or not 1 <= frames <= max_block:
            raise MessageError(
                f"AUDIO of stream {frame.stream} must hold {channels} channels of 1 to "
                f"{max_block} frames, not {len(frame.payload)} bytes",
                "bad-block",
            )
        audio = np.frombuffer(frame.payload, "<f4").astype(np.float32, copy=False)
        return Block(frame.stream, frame.sequence, audio.reshape(channels, frames))

    def _known(self, stream: int) -> tuple[int, int]:
        sizes = self._streams.get(stream)
        if sizes is None:
            raise MessageError(f"there is no open stream {stream}", "no-stream")
        return sizes

    def _check_queries(self, queries: list[QueryMessage] | None) -> None:
        limits = self._limits
        if queries is None:
            return
        if not 1 <= len(queries) <= limits.queries:
            raise MessageError(f"a stream has 1 to {limits.queries} queries", "limit")
        for query in queries:
            if len(query.text) > limits.query_characters:
                raise MessageError(
                    f"a query may have {limits.query_characters} characters, this one has "
                    f"{len(query.text)}",
                    "bad-query",
                )

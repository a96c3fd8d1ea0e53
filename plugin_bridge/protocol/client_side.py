"""What a client says and is told; knows no sockets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from plugin_bridge.protocol import messages, wire
from plugin_bridge.protocol.messages import (
    Change,
    Hello,
    Message,
    MessageError,
    Open,
    Opened,
    Statistics,
    Welcome,
)
from plugin_bridge.protocol.wire import VERSIONS, Decoder, Flag, Frame, ProtocolError, Type

#: The largest payload that a server sends: 32 rows and channels of 65,536 frames, 64 times.
_LARGEST = 1 << 29


@dataclasses.dataclass(frozen=True)
class Answer:
    """The server's answer to message ``sequence``, or news of a stream.

    Attributes:
        message: Content; None for the types without any (DONE, PONG).
        payload: Raw content of REPORT and PONG.
    """

    type: Type
    stream: int
    sequence: int
    message: Message | None = None
    payload: bytes = b""


@dataclasses.dataclass(frozen=True)
class AudioAnswer:
    """Audio of a stream: ``rows`` is (rows, channels, frames) float32."""

    stream: int
    sequence: int
    rows: NDArray[np.float32]
    substituted: bool


class ClientProtocol:
    """One connection, as a client sees it.

    The methods that ask for something return the bytes to send; the number of the message is
    ``last_sequence`` afterwards.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(_LARGEST)
        self._version = 0
        self._next = 0
        #: Stream to channels asked for; and to rows and channels once it is open.
        self._asked: dict[int, int] = {}
        self._shapes: dict[int, tuple[int, int]] = {}

    @property
    def last_sequence(self) -> int:
        """Number of the message made last."""
        return self._next - 1

    def hello(self, client: str, token: str = "") -> bytes:
        """The first message."""
        return self._message(0, Hello(list(VERSIONS), client, token))

    def open(self, stream: int, message: Open) -> bytes:
        """Ask for a stream; the number is the client's choice, from 1."""
        self._asked[stream] = message.channels
        return self._message(stream, message)

    def audio(self, stream: int, block: NDArray[np.float32]) -> bytes:
        """(channels, frames) float32 of the mixture."""
        return self._frame(Type.AUDIO, stream, np.ascontiguousarray(block, "<f4").tobytes())

    def change(self, stream: int, message: Change) -> bytes:
        """Change a stream."""
        return self._message(stream, message)

    def statistics(self, stream: int = 0, message: Statistics | None = None) -> bytes:
        """Ask for the numbers of a stream, or of the server."""
        return self._message(stream, message or Statistics())

    def plain(self, kind: Type, stream: int = 0, payload: bytes = b"") -> bytes:
        """FLUSH, RESET, CLOSE or PING."""
        return self._frame(kind, stream, payload)

    def receive(self, data: bytes | bytearray | memoryview) -> Iterator[Answer | AudioAnswer]:
        """Take bytes, give what they mean.

        Raises:
            ProtocolError: The server broke the protocol; the connection cannot go on.
        """
        self._decoder.feed(data)
        while (frame := self._decoder.next()) is not None:
            try:
                event = self._event(frame)
            except MessageError as error:
                raise ProtocolError(error.code, str(error)) from None
            if event is not None:
                yield event

    def _message(self, stream: int, message: Message) -> bytes:
        return self._frame(messages.TYPES[type(message)], stream, messages.encode(message))

    def _frame(self, kind: Type, stream: int, payload: bytes) -> bytes:
        frame = Frame(kind, stream, self._next, payload)
        self._next += 1
        return frame.encode(self._version or wire.FIRST_VERSION)

    def _event(self, frame: Frame) -> Answer | AudioAnswer | None:
        kind, stream, sequence = frame.type, frame.stream, frame.sequence
        if kind == Type.AUDIO:
            return self._audio(frame)
        if kind in (Type.WELCOME, Type.OPENED, Type.CHANGED, Type.LATENCY, Type.ERROR):
            message = messages.decode(kind, frame.payload)
            if isinstance(message, Welcome):
                if message.version not in VERSIONS:
                    raise ProtocolError(
                        "version", f"the server wants to speak version {message.version}"
                    )
                self._version = message.version
                self._decoder.version = message.version
            elif isinstance(message, Opened):
                if stream not in self._asked or not message.rows:
                    raise ProtocolError("stream", f"stream {stream} was not asked for")
                self._shapes[stream] = (message.rows, self._asked[stream])
            return Answer(Type(kind), stream, sequence, message)
        if kind in (Type.DONE, Type.PONG, Type.REPORT):
            return Answer(Type(kind), stream, sequence, payload=frame.payload)
        if kind & wire.OPTIONAL:
            return None
        raise ProtocolError("type", f"a server does not send messages of type {kind}")

    def _audio(self, frame: Frame) -> AudioAnswer:
        if frame.stream not in self._shapes:
            raise ProtocolError("no-stream", f"audio came for stream {frame.stream}, not open")
        rows, channels = self._shapes[frame.stream]
        frames, rest = divmod(len(frame.payload), 4 * rows * channels)
        if rest:
            raise ProtocolError("bad-block", f"{len(frame.payload)} bytes are no whole frames")
        audio = np.frombuffer(frame.payload, "<f4").astype(np.float32, copy=False)
        shaped = audio.reshape(rows, channels, frames)
        substituted = bool(frame.flags & Flag.SUBSTITUTED)
        return AudioAnswer(frame.stream, frame.sequence, shaped, substituted)

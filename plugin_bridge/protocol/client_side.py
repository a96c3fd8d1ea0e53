"""What a client says and is told; knows no sockets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plugin_bridge.protocol import messages, proof, wire
from plugin_bridge.protocol.messages import (
    Cancel,
    Challenge,
    Change,
    Hello,
    Listing,
    Message,
    MessageError,
    Open,
    Opened,
    Proof,
    Reset,
    Statistics,
    Welcome,
)
from plugin_bridge.protocol.wire import VERSIONS, Decoder, Flag, Frame, ProtocolError, Type

#: The largest payload that is taken; a server's own limit is an eighth of it by default.
_LARGEST = 1 << 29
#: What a server says with content.
_WITH_MESSAGE = (
    Type.CHALLENGE,
    Type.WELCOME,
    Type.OPENED,
    Type.CHANGED,
    Type.LATENCY,
    Type.LISTED,
    Type.ERROR,
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """The server's answer to message ``sequence``, or news of a stream.

    Attributes:
        message: Content; None for the types without any (DONE, PONG).
        payload: Raw content of REPORT, PONG and SNAPSHOT.
    """

    type: Type
    stream: int
    sequence: int
    message: Message | None = None
    payload: bytes = b""


class AudioAnswer(NamedTuple):
    """Audio of a stream: ``rows`` is (rows, channels, frames) float32, to be read only."""

    stream: int
    sequence: int
    rows: NDArray[np.float32]
    substituted: bool


class ClientProtocol:
    """One connection, as a client sees it.

    The methods that ask for something return the bytes to send; the number of the message is
    ``last_sequence`` afterwards. One thread at a time may call them, and one at a time
    :meth:`receive`; these two may be different ones.

    Args:
        versions: Of the protocol, that the client speaks.
    """

    def __init__(self, versions: tuple[int, ...] = VERSIONS) -> None:
        self._versions = versions
        self._decoder = Decoder(_LARGEST)
        self._version = 0
        self._next = 0
        #: What both sides know, and what the server has to prove that with; empty for nothing.
        self._token = self._challenge = ""
        #: What proves it to the server, once it has.
        self._proof = ""
        #: Stream to channels asked for; and to rows and channels once it is open.
        self._asked: dict[int, int] = {}
        self._shapes: dict[int, tuple[int, int]] = {}

    @property
    def version(self) -> int:
        """The one that is spoken; 0 until that is known."""
        return self._version

    @property
    def last_sequence(self) -> int:
        """Number of the message made last."""
        return self._next - 1

    def hello(self, client: str, token: str = "") -> bytes:
        """The first message; of the token it says nothing.

        A server that does not prove that it knows it is no server of ours: before that, nothing
        else is to be said.
        """
        self._token = token
        self._challenge = proof.new_challenge() if token else ""
        return self._message(0, Hello(list(self._versions), client, challenge=self._challenge))

    def prove(self) -> bytes:
        """The answer to a CHALLENGE."""
        return self._message(0, Proof(self._proof))

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

    def reset(self, stream: int, origin: int = 0) -> bytes:
        """Forget a stream's sound."""
        if self._version < 2:
            return self.plain(Type.RESET, stream)
        return self._message(stream, Reset(origin))

    def cancel(self, stream: int, sequence: int) -> bytes:
        """Take back a change that waits; from version 2 on."""
        return self._message(stream, Cancel(sequence))

    def statistics(self, stream: int = 0, message: Statistics | None = None) -> bytes:
        """Ask for the numbers of a stream, or of the server."""
        return self._message(stream, message or Statistics())

    def listing(self, model: str = "") -> bytes:
        """Ask for the models, and for the known queries of one; from version 2 on."""
        return self._message(0, Listing(model))

    def plain(self, kind: Type, stream: int = 0, payload: bytes = b"") -> bytes:
        """FLUSH, CLOSE, PING, or a SNAPSHOT as it came."""
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
        if kind in _WITH_MESSAGE:
            message = messages.decode(kind, frame.payload)
            if isinstance(message, Challenge):
                self._check(message)
            elif isinstance(message, Welcome):
                if self._token and not self._proof:
                    raise ProtocolError("token", "it does not prove that it knows the token")
                if message.version not in self._versions:
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
        if kind in (Type.DONE, Type.PONG, Type.REPORT, Type.SNAPSHOT):
            return Answer(Type(kind), stream, sequence, payload=frame.payload)
        if kind & wire.OPTIONAL:
            return None
        raise ProtocolError("type", f"a server does not send messages of type {kind}")

    def _check(self, message: Challenge) -> None:
        said = self._challenge, message.challenge
        due = proof.proof(self._token, "server", *said)
        if not self._token or self._proof or not proof.is_same(message.proof, due):
            raise ProtocolError("token", "it does not know the token")
        self._proof = proof.proof(self._token, "client", *said)

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

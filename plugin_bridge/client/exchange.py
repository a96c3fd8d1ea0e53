"""One connection with one stream on it: what to send and what came back; knows no sockets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from plugin_bridge.client.failures import failure_error, lost, not_ours
from plugin_bridge.client.snapshots import Snapshots
from plugin_bridge.live.blocks import is_within
from plugin_bridge.protocol.client_side import Answer, AudioAnswer, ClientProtocol
from plugin_bridge.protocol.messages import (
    Change,
    Changed,
    Failure,
    Open,
    Statistics,
    Welcome,
)
from plugin_bridge.protocol.wire import ProtocolError, Type

CLIENT = "audiosep-python"
#: Magnitude at which what a server gives is cut off: 60 dB over full scale.
LOUDEST = 1e3
#: The one stream of the connection; 0 is the connection itself.
_STREAM = 1


class Exchange:
    """What was asked on a connection, and answered.

    The methods that ask return the bytes to send; ``last`` is then the number to ask
    :meth:`reply` for. Threads may use it as they may :class:`ClientProtocol`.

    Args:
        server: Where the server listens, for people.

    Attributes:
        place: Takes the audio that comes back, (rows, channels, n).
        answered: Number of the last block that was answered, or reset.
        substituted_blocks: Answers made with masks that stand in for late ones.
        settle: Told of every change that was answered its number, the position at which it took
            effect, and why it was refused, or None.
        snapshots: Takes what the server's network remembers.
        idle_seconds: Without a message, after which the server closes the connection.
    """

    def __init__(self, server: str) -> None:
        self.place: Callable[[NDArray[np.float32]], None] = _nowhere
        self.substituted_blocks = 0
        self.settle: Callable[[int, int, Exception | None], None] = _settled
        self.snapshots = Snapshots()
        self.idle_seconds = 300
        self._server = server
        self._protocol = ClientProtocol()
        self.answered = self._last_block = -1
        #: Blocks before this one are of a stream that was reset.
        self._since = 0
        #: What somebody waits for.
        self._replies: dict[int, Answer | Exception | None] = {}
        #: Changes that are not answered yet.
        self._changes: set[int] = set()
        #: Number of the snapshot that the stream goes on with.
        self._resumed = -1

    @property
    def last(self) -> int:
        """Number of the message made last."""
        return self._protocol.last_sequence

    @property
    def has_origin(self) -> bool:
        """Whether positions are counted from the origin, which version 1 does not know."""
        return self._protocol.version > 1

    def hello(self, token: str) -> bytes:
        """The first message; the next one has to wait for its reply.

        That is WELCOME, or of a server that guards itself with a token CHALLENGE.
        """
        return self._ask(self._protocol.hello(CLIENT, token))

    def prove(self) -> bytes:
        """The answer to CHALLENGE, whose reply is WELCOME."""
        return self._ask(self._protocol.prove())

    def open(self, message: Open) -> bytes:
        """Ask for the stream."""
        return self._ask(self._protocol.open(_STREAM, message))

    def audio(self, block: NDArray[np.float32]) -> bytes:
        """(channels, n) float32 of the mixture."""
        data = self._protocol.audio(_STREAM, block)
        self._last_block = self.last
        return data

    @property
    def owes_audio(self) -> bool:
        """Whether a block was sent that has no answer yet."""
        return self.answered < self._last_block

    def resume(self, snapshot: bytes) -> bytes:
        """Go on with what another server's network remembers; nobody answers unless it cannot."""
        data = self._protocol.plain(Type.SNAPSHOT, _STREAM, snapshot)
        self._resumed = self.last
        return data

    def change(self, message: Change) -> bytes:
        """Change the stream; nobody waits for the reply, which goes to ``settle``."""
        data = self._protocol.change(_STREAM, message)
        self._changes.add(self.last)
        return data

    def flush(self) -> bytes:
        """Ask for the rest of the recording; the reply comes behind it."""
        return self._ask(self._protocol.plain(Type.FLUSH, _STREAM))

    def reset(self, origin: int = 0) -> bytes:
        """Have all sound forgotten; answers to blocks before count no more."""
        data = self._protocol.reset(_STREAM, origin)
        self._since = self.last
        self.answered = self._last_block
        return data

    def close(self) -> bytes:
        """End the stream."""
        return self._protocol.plain(Type.CLOSE, _STREAM)

    def statistics(self, *, server: bool = False, prometheus: bool = False) -> bytes:
        """Ask for the numbers of the stream, or of the server."""
        message = Statistics("prometheus" if prometheus else "json")
        return self._ask(self._protocol.statistics(0 if server else _STREAM, message))

    def listing(self, model: str = "") -> bytes:
        """Ask what there is."""
        return self._ask(self._protocol.listing(model))

    def ping(self) -> bytes:
        """Tell the server that the connection is still wanted."""
        return self._protocol.plain(Type.PING)

    def leave(self) -> None:
        """The stream goes on elsewhere: what still comes is for nobody."""
        self.place = lambda rows: None
        self.settle = lambda sequence, position, refused: None
        self.snapshots = Snapshots()

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes that came.

        Raises:
            BridgeError: The server ended the connection, or does not keep to the protocol.
        """
        try:
            for event in self._protocol.receive(data):
                if isinstance(event, AudioAnswer):
                    self._audio(event)
                else:
                    self._answer(event)
        except ProtocolError as error:
            if error.code == "token":
                raise not_ours(self._server, str(error)) from None
            raise lost(self._server, f"it broke the protocol: {error}") from None

    def reply(self, sequence: int) -> Answer | None:
        """The answer to a message other than a block or a change, once; None until it came.

        Raises:
            QueryError, ModeError, BundleError, ValueError: The server refused.
        """
        reply = self._replies[sequence]
        if reply is not None:
            del self._replies[sequence]
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _ask(self, data: bytes) -> bytes:
        self._replies[self.last] = None
        return data

    def _audio(self, event: AudioAnswer) -> None:
        if event.sequence < self._since:
            return
        self.answered = event.sequence
        self.substituted_blocks += event.substituted
        self.place(_bounded(event.rows))

    def _answer(self, event: Answer) -> None:
        message, sequence = event.message, event.sequence
        if isinstance(message, Failure):
            self._fail(message, sequence)
        elif isinstance(message, Changed):
            self._settle(sequence, message.position, None)
        elif event.type == Type.LATENCY:
            raise lost(self._server, "the stream has another latency now")
        elif event.type == Type.SNAPSHOT:
            if sequence >= self._since:
                self.snapshots.add(event.payload)
        elif sequence in self._replies:
            if isinstance(message, Welcome):
                self.idle_seconds = message.limits.get("idle_seconds", self.idle_seconds)
            self._replies[sequence] = event

    def _fail(self, failure: Failure, sequence: int) -> None:
        error = failure_error(failure, self._server)
        if failure.fatal:
            raise error
        if sequence in self._changes:
            self._settle(sequence, 0, error)
        elif sequence in self._replies:
            self._replies[sequence] = error
        elif sequence == self._resumed:
            # The next attempt does without.
            self.snapshots.clear()
            raise lost(self._server, f"it cannot go on with a snapshot: {error}")
        else:
            raise lost(self._server, f"it refused audio: {error}")

    def _settle(self, sequence: int, position: int, refused: Exception | None) -> None:
        if sequence in self._changes:
            self._changes.remove(sequence)
            # What was said before a reset holds from the first frame behind it.
            self.settle(sequence, position if sequence > self._since else 0, refused)


def _bounded(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without what is not finite, and without what is too loud: it goes to an ear."""
    if is_within(rows, LOUDEST):
        return rows
    finite = np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(finite, -LOUDEST, LOUDEST)


def _nowhere(rows: NDArray[np.float32]) -> None:
    raise ProtocolError("no-stream", "audio came before the stream was open")


def _settled(sequence: int, position: int, refused: Exception | None) -> None:
    raise ProtocolError("no-stream", "a change was answered before the stream was open")

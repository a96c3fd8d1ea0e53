"""A conversation with a server, frame by frame, of which every frame is looked at."""

from __future__ import annotations

import contextlib
import json
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plugin_bridge.address import Address
from plugin_bridge.protocol import proof
from plugin_bridge.protocol.wire import VERSIONS, Decoder, Frame, ProtocolError, Type

_LARGEST = 1 << 29
_READ_BYTES = 1 << 18


class DepartureError(Exception):
    """The server does not keep to the protocol; the message says where."""


class Dialog:
    """One connection, on which nothing is taken for granted.

    Args:
        address: Of the server.
        timeout: Seconds to wait for each answer.
        versions: Of the protocol, to offer; empty to say nothing yet.

    Attributes:
        welcome: What the server said to HELLO.
        due: Number of the next frame.

    Raises:
        OSError: Nobody answers there.
        AddressError: The server's token cannot be read.
        DepartureError: It does not greet as it must.
    """

    def __init__(
        self, address: Address, timeout: float, versions: tuple[int, ...] = VERSIONS
    ) -> None:
        self._token = address.token()
        self._link = address.connect(timeout)
        self._decoder = Decoder(_LARGEST)
        self._version = 1
        self.due = 0
        self.welcome: dict[str, Any] = {}
        if versions:
            self._greet(versions)

    def __enter__(self) -> Dialog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._link.close()

    def say(
        self, kind: int, stream: int = 0, payload: bytes | dict[str, Any] = b"", skipped: int = 0
    ) -> int:
        """Send a frame: its number, from which ``skipped`` numbers are left out."""
        data = json.dumps(payload).encode() if isinstance(payload, dict) else payload
        sequence = self.due + skipped
        self.due = sequence + 1
        self.say_bytes(Frame(kind, stream, sequence, data).encode(self._version))
        return sequence

    def say_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        # Who is hung up on has an answer to read first.
        with contextlib.suppress(ConnectionError):
            self._link.sendall(data)

    def say_audio(self, stream: int, block: NDArray[np.float32]) -> int:
        """Send (channels, frames) of a mixture: the number of the frame."""
        return self.say(Type.AUDIO, stream, np.ascontiguousarray(block, "<f4").tobytes())

    def hear(self) -> Frame | None:
        """The next frame; None where the server has hung up.

        Raises:
            DepartureError: Nothing came, or what came is no frame.
        """
        while True:
            try:
                frame = self._decoder.next()
                data = b"" if frame else self._link.recv(_READ_BYTES)
            except ProtocolError as error:
                raise DepartureError(f"what came is no frame: {error}") from None
            except TimeoutError:
                raise DepartureError("no answer came") from None
            except ConnectionError:
                data = b""
            if frame is not None or not data:
                return frame
            self._decoder.feed(data)

    def hear_of(self, kind: Type, stream: int, sequence: int) -> Frame:
        """The next frame, which must be of that type, stream and number.

        Raises:
            DepartureError: It is another one.
        """
        frame = self.hear()
        if frame is None:
            raise DepartureError(f"it hung up where {kind.name} was due")
        heard = (frame.type, frame.stream, frame.sequence)
        if heard != (kind, stream, sequence):
            raise DepartureError(
                f"{kind.name} of stream {stream} to message {sequence} was due, and type "
                f"{heard[0]} of stream {heard[1]} to message {heard[2]} came: "
                f"{frame.payload[:200]!r}"
            )
        return frame

    def hear_json(self, kind: Type, stream: int, sequence: int) -> dict[str, Any]:
        """As :meth:`hear_of`: the fields of the frame."""
        payload = self.hear_of(kind, stream, sequence).payload
        try:
            fields = json.loads(payload.decode())
        except ValueError as error:
            raise DepartureError(f"{kind.name} is no JSON: {error}") from None
        check(isinstance(fields, dict), f"{kind.name} is no object but {fields!r}")
        return fields

    def hear_audio(self, stream: int, sequence: int, signals: int) -> NDArray[np.float32]:
        """As :meth:`hear_of`: (signals, frames), rows and channels one behind the other."""
        payload = self.hear_of(Type.AUDIO, stream, sequence).payload
        check(
            len(payload) % (4 * signals) == 0, f"AUDIO of {len(payload)} bytes is no whole frames"
        )
        return np.frombuffer(payload, "<f4").reshape(signals, -1)

    def hear_error(self, code: str, stream: int, sequence: int) -> None:
        """An ERROR that is not fatal."""
        fields = self.hear_json(Type.ERROR, stream, sequence)
        check(fields.get("code") == code, f"the code {code} was due, not {fields}")
        check(fields.get("fatal", False) is False, f"{code} must not be fatal")

    def hear_end(self, code: str, sequence: int) -> None:
        """An ERROR that is fatal, and the end of the connection; without code the end alone."""
        if code:
            fields = self.hear_json(Type.ERROR, 0, sequence)
            check(fields.get("code") == code, f"the code {code} was due, not {fields}")
            check(fields.get("fatal") is True, f"{code} must be fatal")
        check(self.hear() is None, "it must hang up, and said more")

    def open(self, stream: int = 1, **fields: Any) -> dict[str, Any]:
        """Open a stream that waits for every answer: what OPENED says."""
        asked = {"sample_rate": 48_000, "channels": 2, "max_block": 4096, "queries": ["drums"]}
        asked |= {"contract": "render", "slack": 0, **fields}
        return self.hear_json(Type.OPENED, stream, self.say(Type.OPEN, stream, asked))

    def exchange(self, stream: int, block: NDArray[np.float32], rows: int = 1) -> Any:
        """Send audio and hear as much: (rows * channels, frames)."""
        heard = self.hear_audio(stream, self.say_audio(stream, block), rows * len(block))
        check(heard.shape[1] == block.shape[1], "an answer must be as long as what it answers")
        return heard

    def _greet(self, versions: tuple[int, ...]) -> None:
        challenge = proof.new_challenge() if self._token else ""
        hello = {"versions": list(versions), "client": "audiosep bridge check"}
        sequence = self.say(Type.HELLO, 0, {**hello, "challenge": challenge})
        if self._token:
            said = self.hear_json(Type.CHALLENGE, 0, sequence)
            both = challenge, str(said.get("challenge"))
            due = proof.proof(self._token, "server", *both)
            check(said.get("proof") == due, "it does not prove that it knows the token")
            own = proof.proof(self._token, "client", *both)
            sequence = self.say(Type.PROOF, 0, {"proof": own})
        self.welcome = self.hear_json(Type.WELCOME, 0, sequence)
        version = self.welcome.get("version")
        check(version in versions, f"it chose version {version} of {list(versions)}")
        assert isinstance(version, int)
        self._version = self._decoder.version = version


def check(holds: bool, otherwise: str) -> None:
    """Whether the server did as it must.

    Raises:
        DepartureError: It did not; ``otherwise`` says what.
    """
    if not holds:
        raise DepartureError(otherwise)

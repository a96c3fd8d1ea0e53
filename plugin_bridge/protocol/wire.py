"""Frames: a fixed little-endian header of 24 bytes and a payload."""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

MAGIC = b"ASEP"
#: Versions of the protocol that this code speaks, the best one last.
VERSIONS = (1, 2)
#: The header's version while none is agreed on.
FIRST_VERSION = 1
HEADER = struct.Struct("<4sBBHIIQ")
#: Types with this bit may be skipped by a receiver that does not know them.
OPTIONAL = 0x80


class Type(enum.IntEnum):
    """What a frame holds."""

    HELLO = 1
    WELCOME = 2
    OPEN = 3
    OPENED = 4
    AUDIO = 5
    CHANGE = 6
    CHANGED = 7
    LATENCY = 8
    FLUSH = 9
    RESET = 10
    CLOSE = 11
    DONE = 12
    STATISTICS = 13
    REPORT = 14
    ERROR = 15
    PING = 16
    PONG = 17
    CANCEL = 18
    CHALLENGE = 19
    PROOF = 20
    LIST = 21
    LISTED = 22
    SNAPSHOT = 128


class Flag(enum.IntEnum):
    """Bits of a frame's flags."""

    #: AUDIO from the server: some of it was made with masks that stand in for late ones.
    SUBSTITUTED = 1


class ProtocolError(Exception):
    """The peer broke the protocol; the connection cannot go on.

    Args:
        code: Word for programs, one of those that ``PROTOCOL.md`` lists.
        message: Sentence for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Frame(NamedTuple):
    """One message on the wire.

    Attributes:
        type: A :class:`Type`, or another number for an optional type that is skipped.
        stream: Stream it belongs to; 0 is the connection itself.
        sequence: Number of the client's message, or of the message that a server answers.
        payload: Content.
        flags: Bits of :class:`Flag`.
    """

    type: int
    stream: int
    sequence: int
    payload: bytes = b""
    flags: int = 0

    def encode(self, version: int = FIRST_VERSION) -> bytes:
        """Header and payload."""
        header = HEADER.pack(
            MAGIC,
            version,
            self.type,
            self.flags,
            self.stream,
            len(self.payload),
            self.sequence,
        )
        return header + self.payload


class Decoder:
    """Cuts a stream of bytes into frames.

    Attributes:
        version: What headers must carry.
        largest: Bytes that a payload may have.

    Args:
        largest: Initial value of the attribute.
    """

    def __init__(self, largest: int) -> None:
        self.version = FIRST_VERSION
        self.largest = largest
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes, any number of them."""
        self._buffer += data

    def next(self) -> Frame | None:
        """The next whole frame, or None until more bytes are there.

        Raises:
            ProtocolError: The bytes are no frame that may come here.
        """
        buffer = self._buffer
        if not buffer:
            return None
        if not buffer.startswith(MAGIC) and not MAGIC.startswith(buffer):
            raise ProtocolError("magic", "these bytes are no frame of this protocol")
        if len(buffer) < HEADER.size:
            return None
        _, version, kind, flags, stream, length, sequence = HEADER.unpack_from(buffer)
        if version != self.version:
            raise ProtocolError(
                "version", f"the header says version {version}, expected {self.version}"
            )
        if length > self.largest:
            raise ProtocolError(
                "too-large", f"a payload of {length} bytes is over the limit of {self.largest}"
            )
        end = HEADER.size + length
        if len(buffer) < end:
            return None
        payload = bytes(memoryview(buffer)[HEADER.size : end])
        del buffer[:end]
        return Frame(kind, stream, sequence, payload, flags)

"""Notes as a standard MIDI file, with times in seconds."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable

DRUM_CHANNEL = 9
# Without a tempo event a quarter note lasts 0.5 s, so a tick is 1/960 s.
_TICKS_PER_QUARTER = 480
_TICKS_PER_SECOND = 960
_NOTE_OFF, _NOTE_ON, _CONTROL, _PROGRAM = 0x80, 0x90, 0xB0, 0xC0


@dataclasses.dataclass(frozen=True)
class Note:
    """A note: start and length in s, key and velocity 0…127."""

    start: float
    length: float
    key: int
    velocity: int


class MidiFile:
    """Collects events of one channel.

    Args:
        channel: 0…15; ``DRUM_CHANNEL`` plays a drum kit.
    """

    def __init__(self, channel: int = 0) -> None:
        self._channel = channel
        # Sorting by (tick, rank) lets a note end before the next begins on the same tick.
        self._events: list[tuple[int, int, bytes]] = []

    def program(self, time: float, program: int) -> None:
        """Choose the instrument (General MIDI, counted from 0) from a time in s on."""
        self._add(time, 0, bytes((_PROGRAM | self._channel, program)))

    def control(self, time: float, controller: int, value: int) -> None:
        """Set a controller (0…127) at a time in s."""
        self._add(time, 0, bytes((_CONTROL | self._channel, controller, value)))

    def notes(self, notes: Iterable[Note], offset: float = 0.0) -> None:
        """Add notes, moved by ``offset`` s."""
        for note in notes:
            start = offset + note.start
            self._add(start, 2, bytes((_NOTE_ON | self._channel, note.key, note.velocity)))
            self._add(start + note.length, 1, bytes((_NOTE_OFF | self._channel, note.key, 0)))

    def encode(self) -> bytes:
        """The file: a header and one track."""
        track = bytearray()
        now = 0
        for tick, _, message in sorted(self._events):
            track += _variable_length(tick - now) + message
            now = tick
        track += b"\x00\xff\x2f\x00"
        header = struct.pack(">4sI3H", b"MThd", 6, 0, 1, _TICKS_PER_QUARTER)
        return header + struct.pack(">4sI", b"MTrk", len(track)) + bytes(track)

    def _add(self, time: float, rank: int, message: bytes) -> None:
        self._events.append((round(time * _TICKS_PER_SECOND), rank, message))


def _variable_length(value: int) -> bytes:
    groups = [value & 0x7F]
    while value > 0x7F:
        value >>= 7
        groups.append(0x80 | value & 0x7F)
    return bytes(reversed(groups))

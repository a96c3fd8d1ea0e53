"""MPEG audio (MP3): its frames counted one by one, and its tags.

A file without a Xing frame does not tell its length, and a Xing frame tells that of the stream it
was written for, not of what was joined to it later. Layouts: ISO/IEC 11172-3, ID3v2.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import BinaryIO

from audiosep_core.files.view import View

_BITRATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_BLOCK = 1 << 20
# How far a first frame may be from the end of the tags, and two frames from each other.
_FARTHEST = 1 << 16
#: A Xing frame may be wrong by this many frames without harm.
_TOLERANCE = 2


@dataclasses.dataclass(frozen=True)
class Mpeg:
    """What a file holds.

    Attributes:
        start: Where the first frame is, the one that tells the length included.
        end: Where the last frame ends.
        frames: How many there are, without the one that tells the length.
        frame_bytes: Size of the first frame.
        frame_samples: Samples of a frame, for each channel.
        sample_rate: In Hz.
        layer: 1 to 3.
        declared: How many frames the Xing frame tells; None without one.
        info_bytes: Size of the Xing frame; 0 without one.
    """

    start: int
    end: int
    frames: int
    frame_bytes: int
    frame_samples: int
    sample_rate: int
    layer: int
    declared: int | None
    info_bytes: int

    @property
    def missing_seconds(self) -> float:
        """How much less there is than the file tells; 0 if it is whole."""
        if self.declared is None or self.frames >= self.declared - _TOLERANCE:
            return 0.0
        return (self.declared - self.frames) * self.frame_samples / self.sample_rate

    @property
    def declares_well(self) -> bool:
        """Whether the Xing frame tells what is there."""
        return self.declared is not None and abs(self.frames - self.declared) <= _TOLERANCE

    @property
    def bits_per_second(self) -> float:
        """The mean bit rate of the sound."""
        seconds = max(1, self.frames) * self.frame_samples / self.sample_rate
        return (self.end - self.start - self.info_bytes) * 8 / seconds


@dataclasses.dataclass(frozen=True)
class _Frame:
    size: int
    samples: int
    rate: int
    layer: int
    kind: int
    side: int


def id3_bytes(head: bytes) -> int:
    """Size of the ID3v2 tag that starts here; 0 if none does. Ten bytes tell."""
    if len(head) < 10 or head[:3] != b"ID3" or head[3] == 0xFF or max(head[6:10]) > 127:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 16 else 0)


def frame_at(head: bytes) -> bool:
    """Whether these four bytes can be the head of a frame."""
    return _frame(head) is not None


def read_mpeg(file: BinaryIO) -> Mpeg | None:
    """Count the frames of a file; None if it is not MPEG audio, or of a free bit rate."""
    source = _Buffered(file)
    offset = 0
    while (size := id3_bytes(source.peek(offset, 10))) > 0:
        offset += size
    first = _sync(source, offset)
    if first is None:
        return None
    start, frame = first
    declared, info = _declared(source, start, frame)
    count, offset = 0, start + info
    kind, end = frame.kind, offset
    while True:
        found = _frame(source.peek(offset, 4))
        if found is None or found.kind != kind:
            size = id3_bytes(source.peek(offset, 10))
            if size:
                offset += size
                continue
            again = _sync(source, offset + 1, kind)
            if again is None:
                break
            offset = again[0]
            continue
        if offset + found.size > source.size:
            break
        count += 1
        offset += found.size
        end = offset
    return Mpeg(
        start, end, count, frame.size, frame.samples, frame.rate, frame.layer, declared, info
    )


def with_length(file: BinaryIO, found: Mpeg) -> BinaryIO | View:
    """A file whose length is known to its decoder: the file itself, where it tells it.

    A first frame that tells the length is for layer 3; of the others, mpg123 divides the size of
    the file by that of the first frame.
    """
    if found.declares_well:
        return file
    if found.layer != 3:
        parts = [(found.start, found.end - found.start)]
        return View(file, parts, told=found.frames * found.frame_bytes)
    file.seek(found.start)
    head = bytearray(file.read(4))
    # The largest frame has room for what is declared, at any layout of channels.
    head[1] |= 1
    best = max((candidate for candidate in _variants(head)), key=lambda pair: pair[1].size)
    frame = bytearray(best[1].size)
    frame[:4] = best[0]
    offset = 4 + best[1].side
    first = found.start + found.info_bytes
    size = len(frame) + found.end - first
    struct.pack_into(">4sIII", frame, offset, b"Xing", 3, found.frames, size)
    return View(file, [bytes(frame), (first, found.end - first)])


def _variants(head: bytearray) -> list[tuple[bytes, _Frame]]:
    variants = []
    for index in range(1, 15):
        changed = bytes([head[0], head[1], index << 4 | head[2] & 0x0D, head[3]])
        frame = _frame(changed)
        if frame is not None:
            variants.append((changed, frame))
    return variants


def _frame(head: bytes) -> _Frame | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    index, rate_index = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or index in (0, 15) or rate_index == 3:
        return None
    generation = 1 if version == 3 else 2
    rate = _RATES[version][rate_index]
    bits = _BITRATES[generation, layer][index] * 1000
    padding = head[2] >> 1 & 1
    if layer == 1:
        return _Frame((12 * bits // rate + padding) * 4, 384, rate, 1, head[1] & 0xFE, 0)
    samples = 1152 if layer == 2 or generation == 1 else 576
    mono = head[3] >> 6 == 3
    side = (17 if mono else 32) if generation == 1 else (9 if mono else 17)
    size = samples // 8 * bits // rate + padding
    return _Frame(size, samples, rate, layer, head[1] & 0xFE, side)


def _sync(source: _Buffered, offset: int, kind: int | None = None) -> tuple[int, _Frame] | None:
    """The next place where a frame is followed by another one, or by the end of the file."""
    window = source.peek(offset, _FARTHEST)
    at = window.find(b"\xff")
    while at >= 0:
        frame = _frame(window[at : at + 4])
        if frame is not None and kind in (None, frame.kind):
            after = offset + at + frame.size
            following = _frame(source.peek(after, 4))
            # A layer and a rate hold throughout; an end is as good as a second frame.
            if (following is not None and following.kind == frame.kind) or (
                kind is not None and after == source.size
            ):
                return offset + at, frame
        at = window.find(b"\xff", at + 1)
    return None


def _declared(source: _Buffered, offset: int, frame: _Frame) -> tuple[int | None, int]:
    """The number of frames that the first one tells, and its size if it is such a one."""
    body = source.peek(offset, min(frame.size, 256))
    at = 4 + frame.side
    # With a checksum between head and side data, or without.
    for start in (at, at + 2):
        if body[start : start + 4] in (b"Xing", b"Info"):
            flags, count = struct.unpack(">II", body[start + 4 : start + 12].ljust(8, b"\0"))
            return (count if flags & 1 else None), frame.size
    if body[36:40] == b"VBRI":
        return struct.unpack(">I", body[50:54].ljust(4, b"\0"))[0], frame.size
    return None, 0


class _Buffered:
    """Bytes of a file at any place; made for going forwards in small steps."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        self._start = 0
        self._block = b""

    def peek(self, offset: int, count: int) -> bytes:
        inside = offset - self._start
        if inside < 0 or inside + count > len(self._block):
            self._file.seek(offset)
            self._start, self._block = offset, self._file.read(max(count, _BLOCK))
            inside = 0
        return self._block[inside : inside + count]

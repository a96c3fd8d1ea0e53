"""FLAC: its blocks of metadata, and its length as its last frame tells it (RFC 9639)."""

from __future__ import annotations

import dataclasses
import struct
from typing import BinaryIO

from audiosep_core.files.mpeg import id3_bytes
from audiosep_core.files.view import View

STREAMINFO, PADDING, APPLICATION, SEEKTABLE, COMMENT, CUESHEET, PICTURE = range(7)
_TOTAL_MASK = (1 << 36) - 1
_TAIL = 1 << 18
_BLOCK_SIZES = {1: 192, **{code: 576 << code - 2 for code in range(2, 6)}} | {
    code: 256 << code - 8 for code in range(8, 16)
}


def _crc_table(bits: int, polynomial: int) -> list[int]:
    top, mask = 1 << bits - 1, (1 << bits) - 1
    table = []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value & top else 0)) & mask
        table.append(value)
    return table


_CRC8, _CRC16 = _crc_table(8, 0x07), _crc_table(16, 0x8005)


@dataclasses.dataclass(frozen=True)
class Flac:
    """What lies where in a file.

    Attributes:
        start: Where the stream starts, behind a tag that is not FLAC's own.
        blocks: Blocks of metadata in their order: type and content.
        declared: Samples of each channel that the header tells; 0 for "unknown".
        counted: Samples up to the end of the last whole frame; None if none was found.
    """

    start: int
    blocks: list[tuple[int, bytes]]
    declared: int
    counted: int | None

    @property
    def missing(self) -> int:
        """Samples that the header promises beyond the last frame."""
        return max(0, self.declared - self.counted) if self.counted is not None else 0


def read_flac(file: BinaryIO) -> Flac | None:
    """Read the metadata and find the last frame; None if the file is not FLAC."""
    file.seek(0)
    start = id3_bytes(file.read(10))
    file.seek(start)
    if file.read(4) != b"fLaC":
        return None
    blocks: list[tuple[int, bytes]] = []
    last = False
    while not last:
        head = file.read(4)
        if len(head) < 4:
            return None
        last = bool(head[0] & 0x80)
        content = file.read(int.from_bytes(head[1:], "big"))
        blocks.append((head[0] & 0x7F, content))
    first = file.tell()
    if blocks[0][0] != STREAMINFO or len(blocks[0][1]) < 34:
        return None
    info = blocks[0][1]
    declared = int.from_bytes(info[10:18], "big") & _TOTAL_MASK
    return Flac(start, blocks, declared, _count(file, first, struct.unpack(">H", info[2:4])[0]))


def with_length(file: BinaryIO, found: Flac) -> BinaryIO | View:
    """A file whose header tells how many samples there are: the file itself, where it does."""
    if found.counted is None or found.counted == found.declared:
        return file
    file.seek(found.start)
    head = bytearray(file.read(8 + 34))
    value = int.from_bytes(head[18:26], "big") & ~_TOTAL_MASK | found.counted
    head[18:26] = value.to_bytes(8, "big")
    end = file.seek(0, 2)
    at = found.start + len(head)
    return View(file, [bytes(head), (at, end - at)])


def write_blocks(blocks: list[tuple[int, bytes]]) -> bytes:
    """Blocks of metadata as they are stored, none of them marked as the last."""
    return b"".join(
        bytes([kind]) + len(content).to_bytes(3, "big") + content for kind, content in blocks
    )


def _count(file: BinaryIO, first: int, block_size: int) -> int | None:
    """Samples up to the end of the last frame that is whole."""
    end = file.seek(0, 2)
    start = max(first, end - _TAIL)
    file.seek(start)
    tail = file.read()
    edge = len(tail)
    at = tail.rfind(b"\xff", 0, edge)
    tried = 0
    while at >= 0 and tried < 64:
        found = _frame(tail[at : at + 16], block_size)
        if found is not None:
            # A frame ends with the checksum of all of it, which makes the checksum zero.
            if _crc(tail[at:edge], _CRC16, 16) == 0:
                return found
            tried += 1
            edge = at
        at = tail.rfind(b"\xff", 0, at)
    return None


def _frame(head: bytes, block_size: int) -> int | None:
    """Samples up to the end of the frame with this head, if it is one."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    code = head[2] >> 4
    number, used = _coded(head[4:])
    offset = 4 + used
    if not used or code == 0:
        return None
    extra = {6: 1, 7: 2}.get(code, 0)
    size = (
        int.from_bytes(head[offset : offset + extra], "big") + 1
        if extra
        else _BLOCK_SIZES.get(code, 0)
    )
    offset += extra + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if not size or offset >= len(head) or _crc(head[:offset], _CRC8, 8) != head[offset]:
        return None
    return (number if head[1] & 1 else number * block_size) + size


def _coded(data: bytes) -> tuple[int, int]:
    """A number in the manner of UTF-8, and its bytes; none if it is no such number."""
    lead = data[0]
    count = 8 - (lead ^ 0xFF).bit_length()
    if count == 0:
        return lead, 1
    if count == 1 or count == 8 or len(data) < count:
        return 0, 0
    value = lead & (0x7F >> count)
    for byte in data[1:count]:
        if byte & 0xC0 != 0x80:
            return 0, 0
        value = value << 6 | byte & 0x3F
    return value, count


def _crc(data: bytes, table: list[int], bits: int) -> int:
    value, mask = 0, (1 << bits) - 1
    for byte in data:
        value = (value << 8 & mask) ^ table[value >> bits - 8 ^ byte]
    return value

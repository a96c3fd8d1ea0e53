"""Ogg: pages, and streams that were joined one after the other (RFC 3533, RFC 7845).

A reader of the first stream alone would drop the rest of a recorded radio programme without a
word.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from audiosep_core.files.tags import FLAC_SPEAKERS, from_comments, to_comments
from audiosep_core.files.view import View

_HEAD = struct.Struct("<4sBBqIIIB")
_FIRST, _LAST = 2, 4
_COMMENT_HEADS = {"VORBIS": b"\x03vorbis", "OPUS": b"OpusTags"}
#: What Opus always decodes to, whatever rate its source had.
OPUS_RATE = 48000
#: Where the channels of a WAV lie among those of Vorbis and Opus, which are for the same speakers
#: as FLAC's in another order (Vorbis I, 4.3.9); libsndfile leaves them in it.
WAV_ORDER = {
    3: (0, 2, 1),
    4: (0, 1, 2, 3),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 5, 3, 4),
    7: (0, 2, 1, 6, 5, 3, 4),
    8: (0, 2, 1, 7, 5, 6, 3, 4),
}
_BLOCK = 1 << 20


def _table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(value)
    return table


_TABLE = _table()


@dataclasses.dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        start: Where it is.
        head_bytes: Size of its head.
        size: Size of all of it.
        flags: 1: goes on with a packet, 2: first of a stream, 4: last of one.
        position: Of the stream's clock, at its end.
        serial: Of its stream.
    """

    start: int
    head_bytes: int
    size: int
    flags: int
    position: int
    serial: int


@dataclasses.dataclass(frozen=True)
class ChainLink:
    """One stream of a file.

    Attributes:
        start: Where its first page is.
        size: Its bytes.
        codec: "VORBIS", "OPUS", or "" for any other.
        ended: Whether its last page says so.
        seconds: How long it plays, by its clock.
        speakers: Which speakers its channels are for, as WAVEFORMATEXTENSIBLE has it; None where
            there are but two, or it does not say.
    """

    start: int
    size: int
    codec: str
    ended: bool
    seconds: float
    speakers: int | None


def read_pages(file: BinaryIO) -> Iterator[Page]:
    """The pages of a file, in their order; what lies between them is passed over."""
    end = file.seek(0, 2)
    offset = 0
    while offset + _HEAD.size <= end:
        file.seek(offset)
        head = file.read(_HEAD.size + 255)
        if head[:4] != b"OggS":
            offset = _next_page(file, offset, end)
            continue
        _, _, flags, position, serial, _, _, segments = _HEAD.unpack_from(head)
        lacing = head[_HEAD.size : _HEAD.size + segments]
        size = _HEAD.size + segments + sum(lacing)
        if offset + size > end:
            return
        yield Page(offset, _HEAD.size + segments, size, flags, position, serial)
        offset += size


def _next_page(file: BinaryIO, offset: int, end: int) -> int:
    offset += 1
    while offset < end:
        file.seek(offset)
        at = file.read(_BLOCK).find(b"OggS")
        if at >= 0:
            return offset + at
        offset += _BLOCK - 3
    return end


def read_links(file: BinaryIO) -> list[ChainLink]:
    """The streams of sound that follow each other in a file.

    Streams that run beside each other, such as pictures to the sound, count as one link.
    """
    groups: list[list[Page]] = []
    before_is_first = False
    for page in read_pages(file):
        is_first = bool(page.flags & _FIRST)
        if not groups or (is_first and not before_is_first):
            groups.append([])
        groups[-1].append(page)
        before_is_first = is_first
    return [_link(file, pages) for pages in groups]


def _link(file: BinaryIO, pages: list[Page]) -> ChainLink:
    codec, serial, rate, skip, channels = "", pages[0].serial, 0, 0, 0
    for page in pages:
        if codec or not page.flags & _FIRST:
            break
        file.seek(page.start + page.head_bytes)
        head = file.read(page.size - page.head_bytes)
        if head.startswith(b"\x01vorbis") and len(head) >= 16:
            codec, serial, rate = "VORBIS", page.serial, struct.unpack_from("<I", head, 12)[0]
            channels = head[11]
        elif head.startswith(b"OpusHead") and len(head) >= 19:
            skip = struct.unpack_from("<H", head, 10)[0]
            codec, serial, rate = "OPUS", page.serial, OPUS_RATE
            # Other mappings than the first two (RFC 7845, 5.1.1) name no speakers.
            channels = head[9] if head[18] < 2 else 0
    sound = [page for page in pages if page.serial == serial]
    clock = max((page.position for page in sound), default=0)
    return ChainLink(
        start=pages[0].start,
        size=pages[-1].start + pages[-1].size - pages[0].start,
        codec=codec,
        ended=bool(sound and sound[-1].flags & _LAST),
        seconds=max(0, clock - skip) / rate if rate else 0.0,
        speakers=FLAC_SPEAKERS.get(channels),
    )


def link_view(file: BinaryIO, link: ChainLink) -> View:
    """One stream as a file of its own; Opus says in it that it is at 48 kHz.

    libsndfile decodes Opus at the rate of what was encoded, or the nearest below it.
    """
    if link.codec != "OPUS":
        return View(file, [(link.start, link.size)])
    file.seek(link.start)
    head = file.read(_HEAD.size + 255)
    size = _HEAD.size + head[_HEAD.size - 1] + sum(head[_HEAD.size :][: head[_HEAD.size - 1]])
    file.seek(link.start)
    page = bytearray(file.read(size))
    at = page.find(b"OpusHead")
    struct.pack_into("<I", page, at + 12, OPUS_RATE)
    return View(file, [with_checksum(page), (link.start + size, link.size - size)])


def with_checksum(page: bytes | bytearray) -> bytes:
    """A page with the checksum that belongs to it."""
    content = bytearray(page)
    content[22:26] = bytes(4)
    value = 0
    for byte in content:
        value = (value << 8 & 0xFFFFFFFF) ^ _TABLE[value >> 24 ^ byte]
    struct.pack_into("<I", content, 22, value)
    return bytes(content)


def read_comments(file: BinaryIO) -> list[bytes]:
    """The comments of a file's first stream, as bytes."""
    _, packets, _ = _headers(file)
    if len(packets) < 2:
        return []
    return from_comments(packets[1][len(_COMMENT_HEADS[_codec(packets[0])]) :])[1]


def with_comments(
    file: BinaryIO, out: BinaryIO, comments: Sequence[bytes], description: str
) -> None:
    """Copy a file of one stream with other comments, and a description.

    Args:
        file: What to copy.
        out: Where to write.
        comments: The comments.
        description: The description.
    """
    first, packets, rest = _headers(file)
    head = _COMMENT_HEADS[_codec(packets[0])]
    vendor, _ = from_comments(packets[1][len(head) :])
    ending = b"\1" if _codec(packets[0]) == "VORBIS" else b""
    body = head + to_comments(vendor, comments, description) + ending
    pages = list(_paged([body, *packets[2:]], first[0].serial))
    file.seek(0)
    out.write(file.read(first[0].size))
    for made in pages:
        out.write(made)
    shift = 1 + len(pages) - len(first)
    for page in read_pages(file):
        if page.start < rest:
            continue
        file.seek(page.start)
        content = bytearray(file.read(page.size))
        if shift:
            _renumber(content, shift)
        out.write(content)


def _codec(head: bytes) -> str:
    return "OPUS" if head.startswith(b"OpusHead") else "VORBIS"


def _headers(file: BinaryIO) -> tuple[list[Page], list[bytes], int]:
    """The pages of a first stream's headers, their packets, and where the sound starts."""
    pages: list[Page] = []
    packets: list[bytes] = []
    part = b""
    wanted = 3
    for page in read_pages(file):
        if pages and page.serial != pages[0].serial:
            continue
        pages.append(page)
        file.seek(page.start + _HEAD.size)
        lacing = file.read(page.head_bytes - _HEAD.size)
        for size in lacing:
            part += file.read(size)
            if size < 255:
                packets.append(part)
                part = b""
        if packets and _codec(packets[0]) == "OPUS":
            wanted = 2
        if len(packets) >= wanted:
            return pages, packets[:wanted], page.start + page.size
    return pages, packets, pages[-1].start + pages[-1].size if pages else 0


def _paged(packets: Sequence[bytes], serial: int) -> Iterator[bytes]:
    """Pages that hold some packets, the second page of a stream first."""
    lacing: list[int] = []
    for packet in packets:
        lacing += [255] * (len(packet) // 255) + [len(packet) % 255]
    content = b"".join(packets)
    offset = 0
    ended = True
    for number, start in enumerate(range(0, len(lacing), 255), 1):
        sizes = lacing[start : start + 255]
        body = content[offset : offset + sum(sizes)]
        offset += len(body)
        # A page on which no packet ends has no place on the clock.
        clock = 0 if min(sizes) < 255 else -1
        flags = 0 if ended else 1
        head = _HEAD.pack(b"OggS", 0, flags, clock, serial, number, 0, len(sizes))
        yield with_checksum(head + bytes(sizes) + body)
        ended = sizes[-1] < 255


def _renumber(page: bytearray, shift: int) -> None:
    """Move a page's number; its checksum changes by that of the difference alone."""
    old = struct.unpack_from("<I", page, 18)[0]
    new = old + shift & 0xFFFFFFFF
    change = struct.pack("<I", old ^ new)
    value = 0
    for byte in change:
        value = (value << 8 & 0xFFFFFFFF) ^ _TABLE[value >> 24 ^ byte]
    checksum = struct.unpack_from("<I", page, 22)[0] ^ _behind(value, len(page) - 22)
    struct.pack_into("<II", page, 18, new, checksum)


def _behind(value: int, zeros: int) -> int:
    """A checksum after so many bytes of zero: a product of polynomials."""
    power, base = 1, 0x100
    while zeros:
        if zeros & 1:
            power = _product(power, base)
        base = _product(base, base)
        zeros >>= 1
    return _product(value, power)


def _product(left: int, right: int) -> int:
    result = 0
    while right:
        if right & 1:
            result ^= left
        left = (left << 1 ^ (0x04C11DB7 if left & 0x80000000 else 0)) & 0xFFFFFFFF
        right >>= 1
    return result

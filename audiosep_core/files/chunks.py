"""Files made of chunks (WAV, RF64, W64, AIFF, CAF): where the sound lies, whatever headers say.

The size of the sound is believed only if what follows it can be chunks. Recorders that were cut
off leave zero there, pipes the greatest number that fits, and files over 4 GiB what is left
after 32 bits; then the sound goes on to the end of the file.

The layouts: "Multimedia Programming Interface and Data Specifications 1.0" (RIFF), EBU Tech 3306
(RF64), ITU-R BS.2088 (BW64), Apple's AIFF-C draft and Core Audio Format specification.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from typing import BinaryIO

from audiosep_core.files.view import View

# Of Sony's Wave64: what follows the four letters of a chunk's name.
W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")
_W64_RIFF = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
# Sizes near these stand for "unknown": writers that cannot go back leave them, less some headers.
_UNKNOWN = (0x7FFFFFFF, 0xFFFFFFFF)
_NEAR = 1 << 16
# What others append to finished files, and how much of it is no sound in any case.
_APPENDED = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN", b"3DI")
_MOST_JUNK = 256
_MOST_PADDING = 1 << 20
# Names of chunks that may be cut off at the end of a file and still are chunks.
_KNOWN_NAMES = """
LIST bext cue smpl iXML id3 ID3 JUNK junk FLLR PAD fact PEAK _PMX axml chna acid inst cart afsp
minf elm1 regn umid levl plst MARK INST COMT ANNO NAME AUTH APPL free info
"""
_KNOWN = frozenset(name.encode().ljust(4) for name in _KNOWN_NAMES.split())


@dataclasses.dataclass(frozen=True)
class Family:
    """How a kind of file writes its chunks.

    Attributes:
        start: Bytes before the first chunk.
        head: Name and size, as :mod:`struct` has them.
        counted: Bytes of its own head that a chunk's size counts.
        pad: Chunks begin at multiples of this.
        data: Name of the chunk with the sound.
        lead: Bytes of that chunk before the sound.
        total: Where the size of the whole file stands, in the format of a chunk's size, and how
            many bytes of the file it does not count; None if there is no such size.
    """

    start: int
    head: str
    counted: int
    pad: int
    data: bytes
    lead: int
    total: tuple[int, int] | None

    @property
    def head_bytes(self) -> int:
        """Bytes before the content of a chunk."""
        return struct.calcsize(self.head)


RIFF = Family(12, "<4sI", 0, 2, b"data", 0, (4, 8))
RIFX = dataclasses.replace(RIFF, head=">4sI")
W64 = Family(40, "<16sQ", 24, 8, b"data" + W64_TAIL, 0, (16, 0))
AIFF = Family(12, ">4sI", 0, 2, b"SSND", 8, (4, 8))
CAF = Family(8, ">4sq", 0, 1, b"data", 4, None)


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A chunk that is not the sound: four letters, where its content starts, and its size."""

    name: bytes
    start: int
    size: int


@dataclasses.dataclass(frozen=True)
class Chunked:
    """What lies where in a file.

    Attributes:
        family: How its chunks are written.
        magic: Its first four bytes.
        chunks: All but the sound.
        start: Where the sound starts.
        size: Bytes of sound that are there.
        sound: Where the content of the sound's chunk starts, its lead included.
        declared: The size that the header gives that chunk.
        missing: Bytes of sound that the header promises beyond those.
        note: What is odd about it, in a sentence; empty if it is as it says.
    """

    family: Family
    magic: bytes
    chunks: list[Chunk]
    start: int
    size: int
    sound: int
    declared: int
    missing: int
    note: str

    def find(self, name: bytes) -> Chunk | None:
        """The first chunk of that name, or None."""
        return next((chunk for chunk in self.chunks if chunk.name == name), None)


def family_of(head: bytes) -> Family | None:
    """The family of a file that starts with these bytes (16 of them tell), or None."""
    magic = head[:4]
    if magic in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return RIFF
    if magic == b"RIFX" and head[8:12] == b"WAVE":
        return RIFX
    if head[:16] == _W64_RIFF:
        return W64
    if magic == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return AIFF
    return CAF if magic == b"caff" else None


def read_chunked(file: BinaryIO) -> Chunked | None:
    """Walk through a file's chunks; None if it is of no such kind, or holds no sound at all."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    family = family_of(head)
    if family is None:
        return None
    chunks: list[Chunk] = []
    offset = family.start
    while offset + family.head_bytes <= end:
        name, claimed = _head(file, family, offset)
        inside = offset + family.head_bytes
        if name == family.data:
            sound = inside
            break
        if not _is_name(name) or inside + claimed > end:
            return None
        chunks.append(Chunk(name[:4], inside, claimed))
        offset = _after(file, family, inside, claimed, end)
    else:
        return None
    whole = _promise(file, family, head[:4], chunks, claimed)
    size, after, missing, note = _measure(file, family, sound, whole, end)
    return Chunked(
        family,
        head[:4],
        chunks + after,
        sound + family.lead,
        max(0, size - family.lead),
        sound,
        whole,
        missing,
        note,
    )


def mended(file: BinaryIO, found: Chunked) -> BinaryIO | View:
    """A file whose header tells what is there: the file itself, where it does."""
    family, content = found.family, found.size + found.family.lead
    end = file.seek(0, os.SEEK_END)
    is_wide = found.magic in (b"RF64", b"BW64")
    # libsndfile takes all that follows for sound in W64, and stumbles over odd sizes in RF64.
    is_sound = family is not W64 or end - found.start < found.size + family.pad
    if content == found.declared and is_sound and not is_wide:
        return file
    file.seek(0)
    head = bytearray(file.read(found.start))
    total = len(head) + found.size
    if family is RIFF and (is_wide or total > 0xFFFFFFFF):
        # 64-bit sizes live in a chunk of their own.
        kept = [chunk for chunk in found.chunks if chunk.name in (b"fmt ", b"fact")]
        body = b"".join(
            chunk_bytes(family, chunk.name, bytes(head[chunk.start : chunk.start + chunk.size]))
            for chunk in kept
            if chunk.start < found.start
        )
        sizes = struct.pack("<QQQI", 12 + 36 + len(body) + found.size, found.size, 0, 0)
        begin = b"RF64\xff\xff\xff\xffWAVE" + chunk_bytes(family, b"ds64", sizes)
        head = bytearray(begin + body + b"data\xff\xff\xff\xff")
    else:
        code = family.head[0] + family.head[-1]
        width = struct.calcsize(code)
        struct.pack_into(code, head, found.sound - width, content + family.counted)
        if family.total is not None:
            offset, less = family.total
            struct.pack_into(code, head, offset, (total - less) & (256**width - 1))
        common = found.find(b"COMM")
        if common is not None and family is AIFF:
            channels, bits = struct.unpack_from(">hxxxxh", head, common.start)
            width = max(1, channels * -(-bits // 8))
            struct.pack_into(">I", head, common.start + 2, found.size // width & 0xFFFFFFFF)
    return View(file, [bytes(head), (found.start, found.size)])


def chunk_bytes(family: Family, name: bytes, content: bytes) -> bytes:
    """A chunk as it is written, padding included."""
    full = name + W64_TAIL if family is W64 else name
    head = struct.pack(family.head, full, len(content) + family.counted)
    return head + content + bytes(-(len(head) + len(content)) % family.pad)


def _head(file: BinaryIO, family: Family, offset: int) -> tuple[bytes, int]:
    file.seek(offset)
    name, size = struct.unpack(family.head, file.read(family.head_bytes))
    return name, max(0, size - family.counted) if size >= 0 else -1


def _after(file: BinaryIO, family: Family, inside: int, size: int, end: int) -> int:
    """Where the next chunk starts; some writers forget the padding."""
    offset = inside + size
    padded = offset + -offset % family.pad
    if padded != offset and padded + family.head_bytes <= end:
        file.seek(offset)
        near = file.read(5)
        if not _is_name(near[1:5]) and _is_name(near[:4]):
            return offset
    return padded


def _is_name(name: bytes) -> bool:
    if len(name) == 16 and name[4:] != W64_TAIL:
        return False
    return all(32 <= byte < 127 for byte in name[:4]) and name[:1] != b" "


def _promise(
    file: BinaryIO, family: Family, magic: bytes, chunks: list[Chunk], claimed: int
) -> int:
    """The size that the header gives the sound."""
    extra = next((chunk for chunk in chunks if chunk.name == b"ds64"), None)
    if family is RIFF and magic != b"RIFF" and claimed == 0xFFFFFFFF and extra is not None:
        file.seek(extra.start)
        sizes = file.read(16)
        if len(sizes) == 16:
            size = struct.unpack("<QQ", sizes)[1]
            return size if size < 1 << 62 else claimed
    return claimed


def _measure(
    file: BinaryIO, family: Family, sound: int, claimed: int, end: int
) -> tuple[int, list[Chunk], int, str]:
    """Bytes in the sound's chunk, the chunks behind it, bytes that are missing, and a remark."""
    there = end - sound
    if claimed < 0:
        # CAF: "to the end of the file".
        return there, [], 0, ""
    if claimed <= there and (after := _chain(file, family, sound, claimed, end)) is not None:
        return claimed, after, 0, ""
    wrap = 1 << 32 if struct.calcsize(family.head[0] + family.head[-1]) == 4 else 0
    if wrap:
        for size in range(claimed + wrap, there + 1, wrap):
            if (after := _chain(file, family, sound, size, end)) is not None:
                return size, after, 0, "is over 4 GiB, more than its header can tell"
    if claimed > there and not _is_unknown(claimed):
        return there, [], claimed - there, ""
    if 0 < claimed <= there and _is_appended(file, sound + claimed, end):
        return claimed, [], 0, ""
    if 0 < claimed <= there:
        return there, [], 0, "holds more sound than its header tells; all of it is read"
    return there, [], 0, "has a header that was never finished; what is there is read"


def _is_unknown(claimed: int) -> bool:
    return claimed >= 1 << 62 or any(abs(claimed - size) <= _NEAR for size in _UNKNOWN)


def _chain(file: BinaryIO, family: Family, sound: int, size: int, end: int) -> list[Chunk] | None:
    """The chunks from the end of the sound to the end of the file, if that is what is there."""
    found: list[Chunk] = []
    offset = _after(file, family, sound, size, end)
    while offset + family.head_bytes <= end:
        name, claimed = _head(file, family, offset)
        inside = offset + family.head_bytes
        if not _is_name(name) or claimed < 0:
            return found if found and _is_appended(file, offset, end) else None
        if inside + claimed > end:
            return found if name[:4] in _KNOWN else None
        found.append(Chunk(name[:4], inside, claimed))
        offset = _after(file, family, inside, claimed, end)
    return found


def _is_appended(file: BinaryIO, offset: int, end: int) -> bool:
    """Whether what lies from here to the end of a file is no sound."""
    file.seek(offset)
    first = file.read(min(end - offset, _MOST_PADDING))
    if end - offset <= _MOST_JUNK or first.startswith(_APPENDED):
        return True
    return end - offset <= _MOST_PADDING and not any(first)

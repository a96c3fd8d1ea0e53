"""Tags as each kind of file stores them, and what tags of one kind are in another.

Names are those of Vorbis comments. Layouts: RIFF INFO (Microsoft), ID3v2.2 to 2.4 (id3.org),
Vorbis I comment field specification, EBU Tech 3285 (bext).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence

#: Name to value, in the order in which they stand in a file; a name may come again.
Tags = list[tuple[str, str]]
DESCRIPTION_TAG = "DESCRIPTION"
#: The comment in which a FLAC tells other speakers than it has by default.
CHANNEL_MASK = "WAVEFORMATEXTENSIBLE_CHANNEL_MASK"
#: Number of channels to the speakers that they are for in FLAC, from three on.
FLAC_SPEAKERS = {3: 0x7, 4: 0x33, 5: 0x37, 6: 0x3F, 7: 0x70F, 8: 0x63F}

_INFO = {
    "TITLE": b"INAM",
    "ARTIST": b"IART",
    "ALBUM": b"IPRD",
    "DATE": b"ICRD",
    "GENRE": b"IGNR",
    "TRACKNUMBER": b"ITRK",
    "COPYRIGHT": b"ICOP",
    "COMMENT": b"ICMT",
}
_ID3 = {
    "TITLE": (b"TIT2", b"TT2"),
    "ARTIST": (b"TPE1", b"TP1"),
    "ALBUM": (b"TALB", b"TAL"),
    "DATE": (b"TDRC", b"TYE", b"TYER"),
    "GENRE": (b"TCON", b"TCO"),
    "TRACKNUMBER": (b"TRCK", b"TRK"),
    "COMPOSER": (b"TCOM", b"TCM"),
    "COPYRIGHT": (b"TCOP", b"TCR"),
}
#: AIFF's text chunks.
AIFF_TEXT = {"TITLE": b"NAME", "ARTIST": b"AUTH", "COPYRIGHT": b"(c) ", "COMMENT": b"ANNO"}
#: Keys of CAF's "info" chunk.
CAF_TEXT = {
    "TITLE": "title",
    "ARTIST": "artist",
    "ALBUM": "album",
    "DATE": "recorded date",
    "GENRE": "genre",
    "TRACKNUMBER": "track number",
    "COMPOSER": "composer",
    "COPYRIGHT": "copyright",
    "COMMENT": "comments",
}
#: What others than Apple write there.
CAF_READ = {"date": "DATE", "year": "DATE", "track": "TRACKNUMBER"}
#: Tags of ffmpeg by another name than Vorbis comments have.
_FFMPEG = {"TRACK": "TRACKNUMBER", "YEAR": "DATE"}
# Levels of the mixture, and what belongs to the encoded form, do not hold for a stem.
_GAINS = re.compile(rb"(?i)^(REPLAYGAIN_|R128_|ITUNSMPB|ITUNNORM)")
_ID3_LOST = (b"RVA2", b"RVAD", b"RVA", b"RGAD", b"MLLT", b"MLL", b"ASPI", b"SEEK")


def from_info(content: bytes) -> Tags:
    """Tags of the content of a LIST chunk of the type INFO."""
    names = {code: name for name, code in _INFO.items()}
    return [(names[code], _text(value)) for code, value in _pieces(content) if code in names]


def to_info(content: bytes, tags: Tags, description: str) -> bytes:
    """The content of an INFO list: an old one, or one made of tags; its comment describes."""
    pieces = list(_pieces(content))
    if not pieces:
        pieces = [(_INFO[name], value.encode() + b"\0") for name, value in tags if name in _INFO]
    old = next((_text(value) for code, value in pieces if code == b"ICMT"), "")
    pieces = [(code, value) for code, value in pieces if code != b"ICMT"]
    pieces.append((b"ICMT", _joined(description, old).encode() + b"\0"))
    return b"INFO" + b"".join(
        code + struct.pack("<I", len(value)) + value + bytes(len(value) % 2)
        for code, value in pieces
    )


def from_bext(content: bytes) -> Tags:
    """Tags of a bext chunk, by the names that ffmpeg gives them."""
    if len(content) < 346:
        return []
    low, high = struct.unpack_from("<II", content, 338)
    found = [
        ("DESCRIPTION", _text(content[:256])),
        ("ORIGINATOR", _text(content[256:288])),
        ("ORIGINATOR_REFERENCE", _text(content[288:320])),
        ("ORIGINATION_DATE", _text(content[320:330])),
        ("ORIGINATION_TIME", _text(content[330:338])),
        ("TIME_REFERENCE", str(high << 32 | low)),
    ]
    return [(name, value) for name, value in found if value]


def to_bext(content: bytes, description: str) -> bytes:
    """A bext chunk for a stem: described anew, without the mixture's loudness and UMID."""
    changed = bytearray(content)
    written = _joined(description, _text(content[:256])).encode()[:256]
    # No character is cut in two.
    changed[:256] = written.decode(errors="ignore").encode().ljust(256, b"\0")
    version = struct.unpack_from("<H", content, 346)[0] if len(content) >= 348 else 0
    if version >= 1 and len(content) >= 412:
        changed[348:412] = bytes(64)
    if version >= 2 and len(content) >= 422:
        changed[412:422] = struct.pack("<5h", *[0x7FFF] * 5)
    return bytes(changed)


def from_comments(content: bytes) -> tuple[bytes, list[bytes]]:
    """The writer's name and the comments of a block of Vorbis comments, as bytes."""
    try:
        size = struct.unpack_from("<I", content)[0]
        vendor, offset = content[4 : 4 + size], 4 + size
        count = struct.unpack_from("<I", content, offset)[0]
        offset += 4
        comments = []
        for _ in range(min(count, len(content) // 4)):
            size = struct.unpack_from("<I", content, offset)[0]
            comments.append(content[offset + 4 : offset + 4 + size])
            offset += 4 + size
    except struct.error:
        return b"", []
    return vendor, [comment for comment in comments if not _GAINS.match(comment)]


def comment_tags(comments: Iterable[bytes]) -> Tags:
    """Vorbis comments as tags."""
    parts = (comment.decode("utf-8", "replace").partition("=") for comment in comments)
    return [(name.upper(), value) for name, equals, value in parts if equals]


def to_comments(vendor: bytes, comments: Sequence[bytes], description: str) -> bytes:
    """A block of Vorbis comments that describes a stem; the other comments stay as they are."""
    old = [comment for comment in comments if comment.upper().startswith(b"DESCRIPTION=")]
    written = _joined(description, _text(old[0][12:]) if old else "")
    listed = [f"{DESCRIPTION_TAG}={written}".encode()]
    listed += [comment for comment in comments if comment not in old]
    body = b"".join(struct.pack("<I", len(comment)) + comment for comment in listed)
    return struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", len(listed)) + body


def as_comments(tags: Tags) -> list[bytes]:
    """Tags as Vorbis comments."""
    return [f"{name}={value}".encode() for name, value in tags]


def from_ffmpeg(tags: dict[str, str]) -> Tags:
    """What ffmpeg tells, so far as there is a common name for it."""
    named = [(_FFMPEG.get(name.upper(), name.upper()), value) for name, value in tags.items()]
    return [(name, value) for name, value in named if name in {*_INFO, *_ID3}]


def id3_tags(tag: bytes) -> Tags:
    """Tags of an ID3v2 tag."""
    names = {code: name for name, codes in _ID3.items() for code in codes}
    return [
        (names[code], _id3_text(value))
        for code, _, value in _frames(tag)
        if code in names and value
    ]


def to_id3(tag: bytes, tags: Tags, description: str) -> bytes:
    """An ID3v2 tag: an old one's frames, or frames made of tags; a comment describes the stem."""
    version = tag[3] if len(tag) > 10 and tag[3] in (2, 3, 4) else 3
    frames = [
        whole
        for code, whole, value in _frames(tag)
        if code not in _ID3_LOST
        and not (code in (b"TXXX", b"TXX", b"COMM", b"COM") and _is_of_encoded(value))
    ]
    if not frames:
        made = ((_ID3[name][0], value) for name, value in tags if name in _ID3)
        frames = [
            _frame(3, b"TYER" if code == b"TDRC" else code, _encoded(3, value))
            for code, value in made
        ]
        version = 3
    written = _encoded(version, description, b"eng")
    comment = _frame(version, b"COM" if version == 2 else b"COMM", written)
    body = b"".join([comment, *frames])
    size = bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3" + bytes([version, 0, 0]) + size + body


def _frames(tag: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Name, all bytes and content of the frames of a tag."""
    if len(tag) < 10 or tag[:3] != b"ID3" or tag[3] not in (2, 3, 4):
        return
    version, flags = tag[3], tag[5]
    body = tag[10 : 10 + _syncsafe(tag[6:10])]
    if flags & 0x80 and version < 4:
        body = body.replace(b"\xff\x00", b"\xff")
    offset = 0
    if flags & 0x40 and version > 2:
        size = _syncsafe(body[:4]) if version == 4 else int.from_bytes(body[:4], "big") + 4
        offset = size
    head = 6 if version == 2 else 10
    while offset + head <= len(body) and body[offset]:
        code = body[offset : offset + (3 if version == 2 else 4)]
        if version == 2:
            size = int.from_bytes(body[offset + 3 : offset + 6], "big")
        elif version == 3:
            size = int.from_bytes(body[offset + 4 : offset + 8], "big")
        else:
            size = _syncsafe(body[offset + 4 : offset + 8])
        whole = body[offset : offset + head + size]
        if len(whole) < head + size:
            return
        yield code, whole, whole[head:]
        offset += head + size


def _frame(version: int, code: bytes, content: bytes) -> bytes:
    size = len(content)
    if version == 2:
        return code + size.to_bytes(3, "big") + content
    if version == 3:
        return code + struct.pack(">IH", size, 0) + content
    safe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return code + safe + b"\0\0" + content


def _encoded(version: int, text: str, language: bytes = b"") -> bytes:
    """A text behind its mark of encoding; a comment's has a language and an empty title first."""
    if version == 4:
        return b"\3" + language + b"\0" * bool(language) + text.encode()
    try:
        return b"\0" + language + b"\0" * bool(language) + text.encode("latin-1")
    except UnicodeEncodeError:
        title = b"\xff\xfe\0\0" if language else b""
        return b"\1" + language + title + b"\xff\xfe" + text.encode("utf-16-le")


def _id3_text(content: bytes) -> str:
    encodings = {0: "latin-1", 1: "utf-16", 2: "utf-16-be", 3: "utf-8"}
    encoding = encodings.get(content[0], "latin-1")
    return content[1:].decode(encoding, "replace").strip("\0").replace("\0", "; ")


def _is_of_encoded(content: bytes) -> bool:
    """Whether a frame of free text holds levels or lengths of the encoded mixture."""
    plain = content[1:].replace(b"\0", b"").removeprefix(b"\xff\xfe")
    return bool(_GAINS.match(plain) or _GAINS.match(plain[3:]))


def _pieces(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 4
    while offset + 8 <= len(content):
        code, size = struct.unpack_from("<4sI", content, offset)
        yield code, content[offset + 8 : offset + 8 + size]
        offset += 8 + size + size % 2


def _text(content: bytes) -> str:
    plain = content.split(b"\0")[0]
    try:
        return plain.decode().strip()
    except UnicodeDecodeError:
        return plain.decode("latin-1").strip()


def _joined(description: str, old: str) -> str:
    return f"{description}. {old}" if old else description


def _syncsafe(data: bytes) -> int:
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value

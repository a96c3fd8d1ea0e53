"""What a file holds beside its sound, and what of it goes with a stem.

Positions hold for stems, which are as long as their input: time stamps, cue points, loops. So do
titles and pictures. Levels do not, nor do sizes. What holds is carried byte for byte where the
stem is of the same family of files, and as common tags elsewhere; the description tells the query.
"""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from typing import BinaryIO

from audiosep_core.files import flac, ogg, tags
from audiosep_core.files.chunks import (
    AIFF,
    CAF,
    RIFF,
    RIFX,
    W64,
    Chunked,
    Family,
    chunk_bytes,
    read_chunked,
)
from audiosep_core.files.kinds import FLAC, MP3, OGG, Kind
from audiosep_core.files.mpeg import id3_bytes, read_mpeg
from audiosep_core.files.tags import Tags

#: What the description of every stem begins with: by it our own files are known again.
MARK = "Separated by AudioSep:"
_MARKS = (MARK.encode(), MARK.encode("utf-16-le"))
_SEARCHED = 1 << 16
# What tells the form of the sound, its levels, or nothing.
_OWN = frozenset(
    (
        *(b"fmt ", b"fact", b"ds64", b"PEAK", b"levl", b"JUNK", b"junk", b"FLLR", b"PAD "),
        *(b"COMM", b"FVER", b"desc", b"free", b"pakt", b"kuki", b"peak", b"ovvw"),
    )
)
_MOST_CHUNK = 1 << 28

#: Names of chunks and their contents.
Chunks = list[tuple[bytes, bytes]]


@dataclasses.dataclass(frozen=True)
class SideData:
    """What a file holds beside its sound.

    Attributes:
        family: "RIFF", "AIFF", "CAF", "FLAC", "ID3" or "OGG"; empty if nothing is known of it.
        before: What stands before the sound: names of chunks, or types of blocks, and contents.
        after: The same of what stands behind it; of MP3, tags at the end under an empty name.
        tags: What other kinds of file can hold of it, too.
    """

    family: str = ""
    before: tuple[tuple[bytes, bytes], ...] = ()
    after: tuple[tuple[bytes, bytes], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Dress:
    """What is written around the sound of a stem.

    Attributes:
        offset: Where in the file that the encoder writes ``before`` goes.
        before: Bytes that move what follows them.
        after: Bytes behind the end.
        comments: Vorbis comments of an Ogg, without the description.
        description: Of the stem.
    """

    offset: int = 0
    before: bytes = b""
    after: bytes = b""
    comments: tuple[bytes, ...] = ()
    description: str = ""


def describe(query: str, without: list[str]) -> str:
    """The description of a stem, or of what is left without some."""
    left = f"what is left without {', '.join(without)}"
    return f"{MARK} {left if without else query}"


def is_made_here(path: Path) -> bool:
    """Whether a file is a stem that this program wrote."""
    try:
        with path.open("rb") as file:
            head = file.read(_SEARCHED)
            end = file.seek(0, 2)
            file.seek(max(0, end - _SEARCHED))
            tail = file.read()
    except OSError:
        return False
    return any(mark in head or mark in tail for mark in _MARKS)


def read_side_data(file: BinaryIO, kind: Kind | None) -> SideData:
    """Read what a file holds beside its sound."""
    if kind is FLAC:
        found = flac.read_flac(file)
        return SideData() if found is None else _of_flac(found)
    if kind is OGG:
        comments = ogg.read_comments(file)
        return SideData("OGG", tuple((b"", c) for c in comments), (), _some(comments))
    if kind is MP3:
        return _of_mpeg(file)
    chunked = read_chunked(file)
    return SideData() if chunked is None else _of_chunks(file, chunked)


def dress(
    side: SideData, format: str, description: str, channels: int, speakers: int | None
) -> Dress:
    """What is written around a stem.

    Args:
        side: What the input held beside its sound.
        format: Container of the stem, as libsndfile names it.
        description: What the stem is.
        channels: Of the stem.
        speakers: Which ones they are for, as WAVEFORMATEXTENSIBLE has it, or None.
    """
    listed = list(side.tags)
    usual = tags.FLAC_SPEAKERS.get(channels, {1: 4, 2: 3}.get(channels))
    if format == "FLAC" and side.family != "FLAC" and speakers not in (None, usual):
        listed.append((tags.CHANNEL_MASK, f"0x{speakers:04X}"))
    if format in ("WAV", "WAVEX", "RF64", "W64"):
        family = W64 if format == "W64" else RIFF
        offset = {"RF64": 96, "W64": 40}.get(format, 12)
        before, after = _riff(side, listed, description)
        if format == "W64":
            # libsndfile, and who reads with it, takes what is behind the sound for sound.
            before, after = before + after, []
        elif format == "RF64":
            # Of an odd size before the sound, it loses its way.
            odd = [piece for piece in before if len(piece[1]) % 2]
            before, after = [piece for piece in before if piece not in odd], odd + after
        return Dress(offset, _chunks(family, before), _chunks(family, after))
    if format == "AIFF":
        own = [*side.before, *side.after] if side.family == "AIFF" else _texts(listed)
        return Dress(12, _chunks(AIFF, [(b"ANNO", description.encode()), *own]))
    if format == "CAF":
        own = [*side.before, *side.after] if side.family == "CAF" else []
        return Dress(
            52,
            _chunks(
                CAF,
                [(b"info", _caf_info(own, listed, description))]
                + [piece for piece in own if piece[0] != b"info"],
            ),
        )
    if format == "FLAC":
        return Dress(42, flac.write_blocks(_flac_blocks(side, listed, description)))
    if format == "MP3":
        old = side.before[0][1] if side.family == "ID3" and side.before else b""
        tail = b"".join(content for _, content in side.after) if side.family == "ID3" else b""
        return Dress(0, tags.to_id3(old, listed, description), tail)
    if format == "OGG":
        own_comments = [content for _, content in side.before] if side.family == "OGG" else []
        return Dress(
            comments=tuple(own_comments or tags.as_comments(listed)), description=description
        )
    return Dress()


def finish(file: BinaryIO, format: str, dressed: Dress, speakers: int | None) -> None:
    """Append what stands behind the sound, and bring the sizes and speakers in the header up."""
    end = file.seek(0, 2)
    if format in ("WAV", "WAVEX", "RF64", "W64", "AIFF"):
        pad = 0 if format == "W64" else -end % 2
        file.write(bytes(pad) + dressed.after)
        end = file.tell()
        if format in ("WAV", "WAVEX", "AIFF"):
            code, offset, size = (">I" if format == "AIFF" else "<I"), 4, end - 8
        else:
            code, offset, size = "<Q", *((20, end - 8) if format == "RF64" else (16, end))
        file.seek(offset)
        file.write(struct.pack(code, size))
        _place_speakers(file, speakers)
    elif format == "FLAC":
        _blank_comments(file, 42 + len(dressed.before))
    else:
        file.write(dressed.after)


def _some(comments: list[bytes]) -> tuple[tuple[str, str], ...]:
    found = tags.comment_tags(comments)
    return tuple(pair for pair in found if pair[0] != "METADATA_BLOCK_PICTURE")


def _of_flac(found: flac.Flac) -> SideData:
    comments: list[bytes] = []
    kept = []
    for kind, content in found.blocks:
        if kind == flac.COMMENT:
            comments = tags.from_comments(content)[1]
        elif kind in (flac.APPLICATION, flac.CUESHEET, flac.PICTURE):
            kept.append((bytes([kind]), content))
    own = tuple((b"", comment) for comment in comments)
    return SideData("FLAC", (*own, *kept), (), _some(comments))


def _of_mpeg(file: BinaryIO) -> SideData:
    file.seek(0)
    size = id3_bytes(file.read(10))
    file.seek(0)
    tag = file.read(size)
    found = read_mpeg(file)
    tail = b""
    if found is not None:
        file.seek(found.end)
        tail = file.read(_MOST_CHUNK)
    # Only what is known to be a tag: the rest may be half a frame.
    known = tail if tail.startswith((b"APETAGEX", b"TAG")) else tail[-128:]
    if not known.startswith((b"APETAGEX", b"TAG")):
        known = b""
    listed = tuple(tags.id3_tags(tag))
    return SideData("ID3", ((b"", tag),) if tag else (), ((b"", known),) if known else (), listed)


def _of_chunks(file: BinaryIO, found: Chunked) -> SideData:
    names = {RIFF: "RIFF", RIFX: "", W64: "RIFF", AIFF: "AIFF", CAF: "CAF"}
    before: Chunks = []
    after: Chunks = []
    listed: Tags = []
    beside: Tags = []
    for chunk in found.chunks:
        if chunk.name in _OWN or chunk.size > _MOST_CHUNK:
            continue
        file.seek(chunk.start)
        content = file.read(chunk.size)
        (before if chunk.start < found.start else after).append((chunk.name, content))
        if chunk.name == b"LIST" and content[:4] == b"INFO":
            listed += tags.from_info(content)
        elif chunk.name == b"bext":
            listed += tags.from_bext(content)
        elif chunk.name in (b"ID3 ", b"id3 "):
            beside += tags.id3_tags(content)
        elif found.family is AIFF:
            texts = {code: name for name, code in tags.AIFF_TEXT.items()}
            if chunk.name in texts:
                listed.append((texts[chunk.name], content.decode("utf-8", "replace")))
        elif chunk.name == b"info":
            listed += _from_caf(content)
    told = {name for name, _ in listed}
    listed += [pair for pair in beside if pair[0] not in told]
    return SideData(names[found.family], tuple(before), tuple(after), tuple(listed))


def _riff(side: SideData, listed: Tags, description: str) -> tuple[Chunks, Chunks]:
    """Chunks before and behind the sound of a WAV."""
    before: Chunks = list(side.before) if side.family == "RIFF" else []
    after: Chunks = list(side.after) if side.family == "RIFF" else []
    info = b""
    for pieces in (before, after):
        for index, (name, content) in enumerate(pieces):
            if name == b"bext":
                pieces[index] = (name, tags.to_bext(content, description))
            elif name == b"LIST" and content[:4] == b"INFO":
                info = content
                pieces[index] = (name, tags.to_info(content, listed, description))
    if not info:
        after.append((b"LIST", tags.to_info(b"", listed, description)))
    return before, after


def _texts(listed: Tags) -> list[tuple[bytes, bytes]]:
    return [
        (tags.AIFF_TEXT[name], value.encode()) for name, value in listed if name in tags.AIFF_TEXT
    ]


def _flac_blocks(side: SideData, listed: Tags, description: str) -> list[tuple[int, bytes]]:
    own = side.before if side.family == "FLAC" else ()
    comments = [content for name, content in own if not name]
    if side.family == "OGG":
        comments = [content for _, content in side.before]
    if not own and comments:
        comments += tags.as_comments([pair for pair in listed if pair[0] == tags.CHANNEL_MASK])
    block = tags.to_comments(b"AudioSep", comments or tags.as_comments(listed), description)
    rest = [(name[0], content) for name, content in own if name]
    return [(flac.COMMENT, block), *rest]


def _from_caf(content: bytes) -> Tags:
    names = {**tags.CAF_READ, **{key: name for name, key in tags.CAF_TEXT.items()}}
    parts = [part.decode("utf-8", "replace") for part in content[4:].split(b"\0")]
    pairs = zip(parts[::2], parts[1::2], strict=False)
    return [(names[key], value) for key, value in pairs if key in names]


def _caf_info(own: list[tuple[bytes, bytes]], listed: Tags, description: str) -> bytes:
    old = next((content for name, content in own if name == b"info"), b"")
    parts = old[4:].split(b"\0")[:-1]
    pairs = list(zip(parts[::2], parts[1::2], strict=False))
    if not pairs:
        pairs = [
            (tags.CAF_TEXT[name].encode(), value.encode())
            for name, value in listed
            if name in tags.CAF_TEXT
        ]
    pairs = [pair for pair in pairs if pair[0] != b"comments"]
    pairs.append((b"comments", description.encode()))
    return struct.pack(">I", len(pairs)) + b"".join(k + b"\0" + v + b"\0" for k, v in pairs)


def _chunks(family: Family, pieces: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(chunk_bytes(family, name, content) for name, content in pieces)


def _place_speakers(file: BinaryIO, speakers: int | None) -> None:
    found = read_chunked(file)
    head = found.find(b"fmt ") if found is not None else None
    if found is None or head is None or head.size < 24:
        return
    file.seek(head.start)
    code, channels = struct.unpack("<HH", file.read(4))
    # What nobody told is not guessed, but for two channels.
    if code == 0xFFFE and (speakers is not None or channels > 2):
        file.seek(head.start + 20)
        file.write(struct.pack("<I", speakers or 0))


def _blank_comments(file: BinaryIO, offset: int) -> None:
    """Make the comments that the encoder wrote padding: there may be one block of them."""
    file.seek(offset)
    head = file.read(4)
    if len(head) == 4 and head[0] & 0x7F == flac.COMMENT:
        file.seek(offset)
        file.write(bytes([head[0] & 0x80 | flac.PADDING]) + head[1:])
        file.write(bytes(int.from_bytes(head[1:], "big")))

"""What a decoder is given of a file: headers mended, streams that were joined taken apart."""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from typing import BinaryIO

from audiosep_core.files import flac, mpeg, ogg
from audiosep_core.files.chunks import CAF, RIFF, RIFX, W64, Chunked, mended, read_chunked
from audiosep_core.files.kinds import FLAC, MP3, OGG, Kind
from audiosep_core.files.tags import CHANNEL_MASK, FLAC_SPEAKERS, comment_tags, from_comments
from audiosep_core.files.view import View

_EXTENSIBLE = 0xFFFE
# Layouts of a CAF whose channels stand in the order of a WAV (CoreAudioBaseTypes.h), and one that
# names the speakers by bits, which are those of a WAV as far as it has them.
_CAF_SPEAKERS = {
    108 << 16 | 4: 0x33,
    113 << 16 | 3: 0x7,
    115 << 16 | 4: 0x107,
    117 << 16 | 5: 0x37,
    121 << 16 | 6: 0x3F,
    125 << 16 | 7: 0x13F,
    132 << 16 | 4: 0x33,
}
_CAF_BITMAP, _WAV_BITS = 1 << 16, (1 << 18) - 1


@dataclasses.dataclass
class DecodableFile:
    """A file as it is to be decoded.

    Attributes:
        parts: What follows each other, each a file that tells its own length.
        note: What is odd about it, without harm; empty if nothing is.
        damage: What is wrong with it; empty if nothing is.
        short: Whether all that is wrong is that less is there than the header promises.
        bits_per_second: Of the sound, where it was made smaller with a loss; otherwise 0.
        speakers: Which speakers the channels are for, as WAVEFORMATEXTENSIBLE has it; None if the
            file does not say.
    """

    parts: list[BinaryIO | View]
    note: str = ""
    damage: str = ""
    short: bool = False
    bits_per_second: float = 0.0
    speakers: int | None = None


def inspect_file(file: BinaryIO, kind: Kind | None) -> DecodableFile:
    """Find out what lies in a file, and what its header should have declared."""
    if kind is FLAC:
        return _flac(file)
    if kind is MP3:
        return _mpeg(file)
    if kind is OGG:
        return _ogg(file)
    if kind is not None and kind.name == "AU":
        return _au(file)
    found = read_chunked(file)
    return DecodableFile([file]) if found is None else _chunked(file, found)


def speakers_of(file: BinaryIO, found: Chunked) -> int | None:
    """The speakers that the channels of a WAV or a CAF are for, or None."""
    layout = found.find(b"chan")
    if found.family is CAF and layout is not None and layout.size >= 8:
        file.seek(layout.start)
        tag, bits = struct.unpack(">II", file.read(8))
        return bits & _WAV_BITS or None if tag == _CAF_BITMAP else _CAF_SPEAKERS.get(tag)
    head = found.find(b"fmt ")
    if head is None or head.size < 24 or found.family not in (RIFF, RIFX, W64):
        return None
    file.seek(head.start)
    content = file.read(24)
    order = found.family.head[0]
    if struct.unpack_from(order + "H", content)[0] != _EXTENSIBLE:
        return None
    return struct.unpack_from(order + "I", content, 20)[0]


def _chunked(file: BinaryIO, found: Chunked) -> DecodableFile:
    damage = ""
    if found.missing:
        damage = (
            f"is truncated: its header promises {found.size + found.missing} bytes of audio, "
            f"{found.size} are there"
        )
    parts: list[BinaryIO | View] = [mended(file, found)]
    return DecodableFile(parts, found.note, damage, bool(damage), speakers=speakers_of(file, found))


def _au(file: BinaryIO) -> DecodableFile:
    end = file.seek(0, 2)
    file.seek(0)
    head = bytearray(file.read(12))
    code = ">" if head[:4] == b".snd" else "<"
    if len(head) < 12:
        return DecodableFile([file])
    start, claimed = struct.unpack_from(code + "II", head, 4)
    there = end - start
    if claimed == there or there <= 0:
        return DecodableFile([file])
    struct.pack_into(code + "I", head, 8, min(there, 0xFFFFFFFF))
    view = View(file, [bytes(head), (12, end - 12)])
    if there < claimed < 0x7FFF0000:
        promise = f"is truncated: its header promises {claimed} bytes of audio, {there} are there"
        return DecodableFile([view], damage=promise, short=True)
    note = "" if claimed >= 0x7FFF0000 else "holds more sound than its header tells; it is all read"
    return DecodableFile([view], note)


def _flac(file: BinaryIO) -> DecodableFile:
    found = flac.read_flac(file)
    if found is None:
        return DecodableFile([file])
    note = damage = ""
    if found.counted is not None and found.declared and found.counted > found.declared:
        note = "holds more sound than its header tells; all of it is read"
    elif found.missing:
        damage = (
            f"is truncated or damaged: its header promises {found.declared} samples, the last "
            f"whole frame ends at {found.counted}"
        )
    return DecodableFile(
        [flac.with_length(file, found)], note, damage, speakers=_flac_speakers(found)
    )


def _flac_speakers(found: flac.Flac) -> int | None:
    """The speakers of more than two channels: as a comment tells, or as RFC 9639 has them."""
    channels = (found.blocks[0][1][12] >> 1 & 7) + 1
    for kind, content in found.blocks:
        if kind == flac.COMMENT:
            for name, value in comment_tags(from_comments(content)[1]):
                if name == CHANNEL_MASK:
                    with contextlib.suppress(ValueError):
                        return int(value, 0)
    return FLAC_SPEAKERS.get(channels)


def _mpeg(file: BinaryIO) -> DecodableFile:
    found = mpeg.read_mpeg(file)
    if found is None or not found.frames:
        return DecodableFile([file])
    damage = ""
    if found.missing_seconds:
        damage = (
            f"is truncated or damaged: its header promises {found.missing_seconds:.2f} s more "
            "than are there"
        )
    return DecodableFile(
        [mpeg.with_length(file, found)], damage=damage, bits_per_second=found.bits_per_second
    )


def _ogg(file: BinaryIO) -> DecodableFile:
    links = [link for link in ogg.read_links(file) if link.codec]
    if not links:
        return DecodableFile([file], damage="is truncated: its last page is missing")
    seconds = sum(link.seconds for link in links)
    rate = sum(link.size for link in links) * 8 / seconds if seconds else 0.0
    damage = "" if links[-1].ended else "is truncated: its last page is missing"
    parts: list[BinaryIO | View] = [ogg.link_view(file, link) for link in links]
    return DecodableFile(parts, damage=damage, bits_per_second=rate, speakers=links[0].speakers)

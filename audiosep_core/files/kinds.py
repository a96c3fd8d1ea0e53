"""What a file is, told by its content: its container, who reads it, and its endings."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import BinaryIO

from audiosep_core.files.chunks import W64, family_of
from audiosep_core.files.mpeg import frame_at, id3_bytes

_HEAD = 4096


@dataclasses.dataclass(frozen=True)
class Kind:
    """A container.

    Attributes:
        name: As libsndfile has it; where ffmpeg reads it, what people call it.
        endings: Of files of this kind; the first is given to new ones.
        ffmpeg: Whether ffmpeg reads it, because libsndfile does not, or not well.
    """

    name: str
    endings: tuple[str, ...]
    ffmpeg: bool = False


WAV = Kind("WAV", (".wav", ".wave", ".bwf", ".rf64", ".bw64"))
FLAC = Kind("FLAC", (".flac",))
OGG = Kind("OGG", (".ogg", ".oga", ".opus"))
MP3 = Kind("MP3", (".mp3", ".mp2", ".mpga", ".mp1"))
_AIFF = Kind("AIFF", (".aiff", ".aif", ".aifc", ".afc"))
_W64 = Kind("W64", (".w64",))
_CAF = Kind("CAF", (".caf",))
_MP4 = Kind("MP4", (".m4a", ".mp4", ".m4b", ".m4r", ".mov", ".3gp", ".aax"), ffmpeg=True)
_AAC = Kind("AAC", (".aac", ".adts"), ffmpeg=True)
_AC3 = Kind("AC-3", (".ac3", ".eac3", ".ec3"), ffmpeg=True)
_MPEG = Kind("MPEG video", (".mpg", ".mpeg", ".vob", ".ts"), ffmpeg=True)
_OGG_OTHER = Kind("Ogg with another codec", (".spx", ".ogv", ".ogx"), ffmpeg=True)
_WAV_OTHER = Kind("WAV with another codec", (), ffmpeg=True)

_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"fLaC", FLAC),
    (0, b".snd", Kind("AU", (".au", ".snd"))),
    (0, b"dns.", Kind("AU", (".au", ".snd"))),
    (0, b"Creative Voice File", Kind("VOC", (".voc",))),
    (0, b"NIST_1A", Kind("NIST", (".sph", ".nist", ".wav"))),
    (0, b"PVF1", Kind("PVF", (".pvf",))),
    (0, b"Extended Instrument: ", Kind("XI", (".xi",))),
    (0, b" paf", Kind("PAF", (".paf",))),
    (0, b"fap ", Kind("PAF", (".paf",))),
    (0, b"2BIT", Kind("AVR", (".avr",))),
    (0, b"\x64\xa3\x01\x00", Kind("IRCAM", (".sf", ".ircam"))),
    (0, b"\x64\xa3\x02\x00", Kind("IRCAM", (".sf", ".ircam"))),
    (0, b"\xf0\x7e", Kind("SDS", (".sds",))),
    (4, b"ftyp", _MP4),
    (0, b"\x1a\x45\xdf\xa3", Kind("Matroska", (".mka", ".mkv", ".webm", ".weba"), ffmpeg=True)),
    (
        0,
        bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
        Kind("Windows Media", (".wma", ".wmv", ".asf"), ffmpeg=True),
    ),
    (0, b"wvpk", Kind("WavPack", (".wv",), ffmpeg=True)),
    (0, b"MAC ", Kind("Monkey's Audio", (".ape",), ffmpeg=True)),
    (0, b"TTA1", Kind("True Audio", (".tta",), ffmpeg=True)),
    (0, b"tBaK", Kind("TAK", (".tak",), ffmpeg=True)),
    (0, b"MPCK", Kind("Musepack", (".mpc",), ffmpeg=True)),
    (0, b"MP+", Kind("Musepack", (".mpc",), ffmpeg=True)),
    (0, b"DSD ", Kind("DSD", (".dsf",), ffmpeg=True)),
    (0, b"FRM8", Kind("DSD", (".dff",), ffmpeg=True)),
    (0, b"#!AMR", Kind("AMR", (".amr",), ffmpeg=True)),
    (0, b".RMF", Kind("RealMedia", (".rm", ".ra"), ffmpeg=True)),
    (0, b".ra\xfd", Kind("RealAudio", (".ra",), ffmpeg=True)),
    (0, b"FLV\x01", Kind("Flash video", (".flv",), ffmpeg=True)),
    (0, b"\x7f\xfe\x80\x01", Kind("DTS", (".dts",), ffmpeg=True)),
    (0, b"\x0b\x77", _AC3),
    (0, b"ADIF", _AAC),
    (0, b"\x00\x00\x01\xba", _MPEG),
)
_ALL = (WAV, OGG, MP3, _AIFF, _W64, _CAF, _AAC, _OGG_OTHER, *(kind for _, _, kind in _MAGIC))
#: Endings that audio files go by, lower case, with their dots.
AUDIO_ENDINGS = frozenset(ending for kind in _ALL for ending in kind.endings)
# Codecs in WAV that libsndfile decodes (its src/wavlike.h).
_WAV_CODECS = frozenset((1, 2, 3, 6, 7, 0x11, 0x14, 0x31, 0x38, 0x40, 0xFFFE))
#: What macOS leaves beside files on disks that are not its own.
APPLE_DOUBLE = b"\x00\x05\x16\x07"


def kind_of(file: BinaryIO) -> Kind | None:
    """What an open file is; None if it is nothing known. Leaves it anywhere."""
    file.seek(0)
    head = file.read(_HEAD)
    start = 0
    while size := id3_bytes(head):
        start += size
        file.seek(start)
        head = file.read(_HEAD)
    family = family_of(head)
    if family is not None:
        if family is W64:
            return _W64
        return {b"FORM": _AIFF, b"caff": _CAF}.get(head[:4]) or _wav(head)
    if head.startswith(b"OggS"):
        return OGG if b"\x01vorbis" in head[:512] or b"OpusHead" in head[:512] else _OGG_OTHER
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"CDXA"):
        return _MPEG
    for offset, magic, kind in _MAGIC:
        if head[offset:].startswith(magic):
            return kind
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return _AAC
    return MP3 if start or frame_at(head) else None


def kind_at(path: Path) -> Kind | None:
    """What the file at a path is; None if it is nothing known or cannot be read."""
    try:
        # A pipe would lose what is read of it.
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return kind_of(file)
    except OSError:
        return None


def ending_for(kind: Kind, name: str) -> str:
    """The ending of what is made in a container: that of the source where it fits."""
    own = os.path.splitext(name)[1]  # noqa: PTH122 - names of one dot are taken as they are
    return own if own.lower() in kind.endings else kind.endings[0]


def _wav(head: bytes) -> Kind:
    at = head.find(b"fmt ")
    if at < 0 or len(head) < at + 10:
        return WAV
    order = "big" if head[:4] == b"RIFX" else "little"
    codec = int.from_bytes(head[at + 8 : at + 10], order)  # type: ignore[arg-type]
    return WAV if codec in _WAV_CODECS else _WAV_OTHER

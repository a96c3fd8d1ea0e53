"""Takes the audio out of the archives that games ship: zip, Qt resources, OpenTTD and Doom files.

Every reader takes the bytes (a path, for zip) of an archive and yields ``(name, audio file)``.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import soundfile
import zstandard

from audiosep_core.atomic import Partial

AUDIO_SUFFIXES = (
    ".wav",
    ".ogg",
    ".oga",
    ".opus",
    ".flac",
    ".mp3",
    ".aif",
    ".aiff",
    ".mkv",
    ".g722",
)
_ARCHIVE_SUFFIXES = (".rcc", ".pk3", ".zip", ".cat", ".wad")
_RCC_COMPRESSED, _RCC_DIRECTORY, _RCC_ZSTANDARD = 1, 2, 4
_WAD_SOUND_FORMAT = 3


def unpack(package: Path, target: Path) -> None:
    """Write the audio inside a package's archives to ``target``; skipped if done before.

    Args:
        package: Folder of an extracted package.
        target: Folder for the audio files; made only if there are any.
    """
    archives = [
        path for path in sorted(package.rglob("*")) if path.suffix.lower() in _ARCHIVE_SUFFIXES
    ]
    if not archives or target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Partial(target, folder=True)
    try:
        for archive in archives:
            for name, content in read_archive(archive):
                path = partial.path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        if any(partial.path.iterdir()):
            partial.commit()
    finally:
        partial.discard()


def read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Audio files in an archive, told apart by its suffix; unsafe names are left out.

    Raises:
        ValueError: The archive is damaged or of another format than its suffix says.
    """
    suffix = path.suffix.lower()
    files: Iterable[tuple[str, bytes]]
    try:
        if suffix in (".zip", ".pk3"):
            files = read_zip(path)
        elif suffix == ".rcc":
            files = read_rcc(path.read_bytes())
        elif suffix == ".cat":
            files = read_cat(path.read_bytes())
        else:
            files = read_wad(path.read_bytes())
        for name, content in files:
            parts = PurePosixPath(name).parts
            if parts and not name.startswith("/") and ".." not in parts:
                yield name, content
    except (struct.error, IndexError, UnicodeDecodeError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}): download its package again") from error


def read_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    """Audio files of a zip archive."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.lower().endswith(AUDIO_SUFFIXES):
                yield name, archive.read(name)


def read_rcc(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Audio files of a compiled Qt resource.

    A header points to a tree of nodes, to names and to data.  A node is a directory, which gives
    count and index of its children, or a file, which gives the offset of its data.
    """
    if data[:4] != b"qres":
        return
    version, tree, contents, names = struct.unpack(">4I", data[4:20])
    node_size = 22 if version >= 2 else 14

    def name_at(offset: int) -> str:
        start = names + offset
        (length,) = struct.unpack(">H", data[start : start + 2])
        return data[start + 6 : start + 6 + 2 * length].decode("utf-16-be")

    def walk(index: int, folder: str) -> Iterator[tuple[str, bytes]]:
        start = tree + index * node_size
        name_offset, flags = struct.unpack(">IH", data[start : start + 6])
        path = PurePosixPath(folder, name_at(name_offset) if index else "").as_posix()
        if flags & _RCC_DIRECTORY:
            count, first = struct.unpack(">2I", data[start + 6 : start + 14])
            for child in range(first, first + count):
                yield from walk(child, path)
        elif path.lower().endswith(AUDIO_SUFFIXES):
            (offset,) = struct.unpack(">I", data[start + 10 : start + 14])
            begin = contents + offset
            (length,) = struct.unpack(">I", data[begin : begin + 4])
            content = data[begin + 4 : begin + 4 + length]
            if flags & _RCC_COMPRESSED:
                # Qt puts the uncompressed size in front of the zlib stream.
                content = zlib.decompress(content[4:])
            elif flags & _RCC_ZSTANDARD:
                content = zstandard.ZstdDecompressor().decompress(content)
            yield path, content

    yield from walk(0, "")


def read_cat(data: bytes) -> Iterator[tuple[str, bytes]]:
    """WAV files of an OpenTTD sample catalogue, named "<number>_<title>.wav".

    A table of offset and length for each sample; at the offset stand the title's length, the
    title and the WAV file.  The highest bit of an offset is a flag.
    """
    (first,) = struct.unpack("<I", data[:4])
    for index in range((first & 0x7FFFFFFF) // 8):
        offset, length = struct.unpack("<2I", data[8 * index : 8 * index + 8])
        offset &= 0x7FFFFFFF
        start = offset + 1 + data[offset]
        title = data[offset + 1 : start].split(b"\0")[0].decode("latin-1")
        if '"' in title:
            title = title.split('"')[1]
        wave = data[start : start + length]
        if b"RIFF" in wave:
            name = title.replace("/", "-")[:80]
            yield f"{index:02d}_{name}.wav", wave[wave.index(b"RIFF") :]


def read_wad(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Sound lumps (DS...) of a Doom WAD as WAV files: 8-bit samples with their own rate."""
    if data[:4] not in (b"IWAD", b"PWAD"):
        return
    count, directory = struct.unpack("<2I", data[4:12])
    for index in range(count):
        entry = directory + 16 * index
        position, size = struct.unpack("<2I", data[entry : entry + 8])
        name = data[entry + 8 : entry + 16].split(b"\0")[0].decode("ascii", "replace")
        if not name.startswith("DS") or size <= 8:
            continue
        kind, rate, samples = struct.unpack("<2HI", data[position : position + 8])
        if kind == _WAD_SOUND_FORMAT:
            raw = np.frombuffer(data, np.uint8, min(samples, size - 8), position + 8)
            wave = io.BytesIO()
            soundfile.write(wave, (raw.astype(np.float32) - 128) / 128, rate, format="WAV")
            yield f"{name}.wav", wave.getvalue()

"""Shards: tar files of clips in WebDataset's form, for corpora that one disk cannot hold.

Sample ``000000012`` is ``000000012.flac`` (the clip's file as it was, or a piece of a long one),
``000000012.json`` (``{"caption", "wav"}``) and, of a clip with a video, ``000000012.npy`` (a
picture for each second, (frames, size, size, 3) uint8). ``index.json`` beside the shards names
them with their number of samples.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audiosep_core.atomic import remove_stale, replacing
from audiosep_core.errors import AudioFileError, UsageError
from audiosep_core.files.audio_reader import AudioReader
from audiosep_core.video import read_frames
from audiosep_training.data.clips import ClipFormat, check_length
from audiosep_training.data.lists import ListedClip

INDEX = "index.json"
#: Ending of a sample's pictures.
FRAMES = ".npy"
_KEY_DIGITS = 9


class ShardError(UsageError):
    """Shards cannot be written or found."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard: where it is, and how many samples it holds (-1 if that is not known)."""

    url: str
    samples: int = -1


@dataclasses.dataclass(frozen=True)
class Packing:
    """How clips are packed.

    Attributes:
        clips: How many go into a shard.
        longest: Of a clip of more seconds a piece as long, drawn for it, is packed; 0 for none.
        frames: Height and width in pixels of the pictures of its video; CLIP ViT-B/32 sees 224.
    """

    clips: int
    longest: float = 60.0
    frames: int = 224


def write_shards(
    items: Sequence[ListedClip], folder: Path, packing: Packing, format: ClipFormat
) -> Iterator[tuple[int, list[str]]]:
    """Write clips into shards; goes on where an interrupted writing stopped.

    Shard ``k`` holds clips ``k * n`` to ``(k + 1) * n`` of ``n`` a shard, without those that
    cannot be used.
    A shard appears under its name when it is complete.

    Args:
        items: The clips, in the order they are written.
        folder: Where to write.
        packing: How many go into a shard, and how.
        format: What makes a clip unusable.

    Yields:
        After each shard: clips done so far, and a sentence for each that was left out of it.

    Raises:
        ShardError: The folder holds shards of other clips or another size, or cannot be written;
            or a clip has a background of its own.
    """
    if any(item.mixture is not None for item in items):
        raise ShardError(
            "shards hold clips without the recordings that they are heard in with noise; train "
            "on the list itself, with --list"
        )
    done = _resume(folder, items, packing)
    size = packing.clips
    for start in range(0, len(items), size):
        number = start // size
        name = f"shard-{number:06d}.tar"
        left_out: list[str] = []
        remove_stale(folder / name)
        if name not in done["shards"]:
            some = items[start : start + size]
            done["shards"][name] = _write_shard(
                folder / name, some, start, packing, format, left_out
            )
            _write_index(folder, done)
        yield min(start + size, len(items)), left_out


def find_shards(locations: Sequence[str]) -> list[Shard]:
    """The shards at some places, in order.

    Args:
        locations: Folders with an ``index.json``, or addresses with braces as WebDataset takes them
            (``https://host/shard-{000000..000123}.tar``, ``pipe:aws s3 cp s3://... -``).

    Raises:
        ShardError: A folder holds no index, or a writing that is not complete.
    """
    import braceexpand

    shards = []
    for location in locations:
        folder = Path(location)
        if not folder.is_dir():
            shards += [Shard(url) for url in braceexpand.braceexpand(location)]
            continue
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            counts = dict(index["shards"])
            whole = len(counts) == index["count"]
        except (OSError, ValueError, KeyError, TypeError):
            raise ShardError(
                f"{folder} holds no {INDEX}; write shards with 'audiosep shards'"
            ) from None
        if not whole:
            raise ShardError(
                f"{folder} holds {len(counts)} of {index['count']} shards; run 'audiosep shards' "
                "again, it goes on where it stopped"
            )
        shards += [Shard(str(folder / name), counts[name]) for name in sorted(counts)]
    return shards


def _resume(folder: Path, items: Sequence[ListedClip], packing: Packing) -> dict[str, Any]:
    """The index so far, of the same clips; an empty one where there is none."""
    digest = hashlib.sha256()
    for item in items:
        video = item.video.name if item.video is not None else ""
        digest.update(f"{item.wav.name}\0{item.caption}\0{video}\0".encode())
    fresh = {
        "clips": digest.hexdigest(),
        "size": packing.clips,
        "longest": packing.longest,
        "frames": packing.frames,
        "count": -(-len(items) // packing.clips),
        "shards": {},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return fresh
    except (OSError, ValueError) as error:
        raise ShardError(f"{folder} cannot be written to: {error}") from None
    for field in ("clips", "size", "longest", "frames"):
        if found.get(field) != fresh[field]:
            raise ShardError(
                f"{folder} holds shards of other {field}; give another folder, or empty this one"
            )
    return found


def _write_shard(
    path: Path,
    items: Sequence[ListedClip],
    first: int,
    packing: Packing,
    format: ClipFormat,
    left_out: list[str],
) -> int:
    samples = 0
    try:
        with (
            replacing(path) as partial,
            tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for number, item in enumerate(items, first):
                try:
                    with AudioReader(item.wav) as reader:
                        check_length(reader, format)
                        ending, content = _packed(reader, packing.longest, number)
                    shown = _pictures(item, packing.frames)
                except AudioFileError as error:
                    left_out.append(str(error))
                    continue
                about = {"caption": item.caption, "wav": item.wav.name}
                key = f"{number:0{_KEY_DIGITS}d}"
                _add(tar, f"{key}{ending}", content)
                _add(tar, f"{key}.json", json.dumps(about, ensure_ascii=False).encode())
                if shown is not None:
                    _add(tar, f"{key}{FRAMES}", shown)
                samples += 1
    except OSError as error:
        raise ShardError(
            f"{path} cannot be written ({error.strerror}); make room and run it again, it goes on "
            "where it stopped"
        ) from None
    return samples


def _packed(reader: AudioReader, longest: float, number: int) -> tuple[str, bytes]:
    """Ending and bytes of a clip: the file as it is, or a FLAC of a piece of it."""
    frames = round(longest * reader.sample_rate)
    if not longest or reader.frames <= frames:
        return reader.path.suffix.lower(), reader.path.read_bytes()
    start = int(np.random.default_rng(number).integers(reader.frames - frames + 1))
    piece = reader.segment(start, frames)
    wide = reader.integer_bits is None or reader.integer_bits > 16
    # Lossy sounds have no bits of their own; what they were made of had sixteen.
    kind = "PCM_24" if wide and not reader.lossy else "PCM_16"
    file = io.BytesIO()
    try:
        soundfile.write(file, piece.T, reader.sample_rate, format="FLAC", subtype=kind)
    except (soundfile.LibsndfileError, ValueError) as error:
        raise AudioFileError(f"{reader.path} cannot be cut into FLAC ({error})") from None
    return ".flac", file.getvalue()


def _pictures(item: ListedClip, size: int) -> bytes | None:
    """The frames of a clip's video, as numpy stores them; None where it has none."""
    if item.video is None:
        return None
    file = io.BytesIO()
    np.save(file, read_frames(item.video, size), allow_pickle=False)
    return file.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    # No times and no owners: the same clips give the same bytes.
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _write_index(folder: Path, index: dict[str, Any]) -> None:
    try:
        with replacing(folder / INDEX) as partial:
            partial.write_text(json.dumps(index, indent=1), encoding="utf-8")
    except OSError as error:
        raise ShardError(f"{folder} cannot be written to ({error.strerror}); make room") from None

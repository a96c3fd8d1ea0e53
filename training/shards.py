"""Shards: tar files of clips in WebDataset's form, for corpora that one disk cannot hold.

Sample ``000000012`` is ``000000012.flac`` (the clip's file as it was) and ``000000012.json``
(``{"caption", "wav"}``). ``index.json`` beside the shards names them with their number of samples.
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

from audiosep_core.audio_files import AudioReader
from audiosep_core.errors import AudioFileError, UsageError
from training.clips import ClipFormat, check_length
from training.lists import Item

INDEX = "index.json"
_KEY_DIGITS = 9


class ShardError(UsageError):
    """Shards cannot be written or found."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard: where it is, and how many samples it holds (-1 if that is not known)."""

    url: str
    samples: int = -1


def write_shards(
    items: Sequence[Item], folder: Path, size: int, format: ClipFormat
) -> Iterator[tuple[int, list[str]]]:
    """Write clips into shards; goes on where an interrupted writing stopped.

    Shard ``k`` holds clips ``k * size`` to ``(k + 1) * size``, without those that cannot be used.
    A shard appears under its name when it is complete.

    Args:
        items: The clips, in the order they are written.
        folder: Where to write.
        size: Clips in a shard.
        format: What makes a clip unusable.

    Yields:
        After each shard: clips done so far, and a sentence for each that was left out of it.

    Raises:
        ShardError: The folder holds shards of other clips or another size, or cannot be written.
    """
    done = _resume(folder, items, size)
    for start in range(0, len(items), size):
        number = start // size
        name = f"shard-{number:06d}.tar"
        left_out: list[str] = []
        if name not in done["shards"]:
            some = items[start : start + size]
            done["shards"][name] = _write_shard(folder / name, some, start, format, left_out)
            _write_index(folder, done)
        yield min(start + size, len(items)), left_out


def find_shards(places: Sequence[str]) -> list[Shard]:
    """The shards at some places, in order.

    Args:
        places: Folders with an ``index.json``, or addresses with braces as WebDataset takes them
            (``https://host/shard-{000000..000123}.tar``, ``pipe:aws s3 cp s3://... -``).

    Raises:
        ShardError: A folder holds no index, or a writing that is not complete.
    """
    import braceexpand

    shards = []
    for place in places:
        folder = Path(place)
        if not folder.is_dir():
            shards += [Shard(url) for url in braceexpand.braceexpand(place)]
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


def _resume(folder: Path, items: Sequence[Item], size: int) -> dict[str, Any]:
    """The index so far, of the same clips; an empty one where there is none."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item.wav.name}\0{item.caption}\0".encode())
    fresh = {
        "clips": digest.hexdigest(),
        "size": size,
        "count": -(-len(items) // size),
        "shards": {},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for partial in folder.glob("*.partial"):
            partial.unlink()
        found = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return fresh
    except (OSError, ValueError) as error:
        raise ShardError(f"{folder} cannot be written to: {error}") from None
    for field in ("clips", "size"):
        if found.get(field) != fresh[field]:
            raise ShardError(
                f"{folder} holds shards of other {field}; give another folder, or empty this one"
            )
    return found


def _write_shard(
    path: Path, items: Sequence[Item], first: int, format: ClipFormat, left_out: list[str]
) -> int:
    partial = path.with_name(f"{path.name}.partial")
    samples = 0
    try:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number, item in enumerate(items, first):
                try:
                    with AudioReader(item.wav) as reader:
                        check_length(reader, format)
                except AudioFileError as error:
                    left_out.append(str(error))
                    continue
                about = {"caption": item.caption, "wav": item.wav.name}
                key = f"{number:0{_KEY_DIGITS}d}"
                _add(tar, f"{key}{item.wav.suffix.lower()}", item.wav.read_bytes())
                _add(tar, f"{key}.json", json.dumps(about, ensure_ascii=False).encode())
                samples += 1
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ShardError(
            f"{path} cannot be written ({error.strerror}); make room and run it again, it goes on "
            "where it stopped"
        ) from None
    return samples


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    # No times and no owners: the same clips give the same bytes.
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _write_index(folder: Path, index: dict[str, Any]) -> None:
    partial = folder / f"{INDEX}.partial"
    try:
        partial.write_text(json.dumps(index, indent=1), encoding="utf-8")
        partial.replace(folder / INDEX)
    except OSError as error:
        raise ShardError(f"{folder} cannot be written to ({error.strerror}); make room") from None

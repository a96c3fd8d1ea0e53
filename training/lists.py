"""JSON lists of clips, as the released code reads them: ``{"data": [{"wav", "caption"}, ...]}``.

An item may also name a ``video``, whose frames can stand in for the caption. Paths are relative
to the list's folder.
"""

from __future__ import annotations

import dataclasses
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from audiosep_core.errors import AudioPathError
from audiosep_core.text import MAX_QUERY_CHARACTERS
from training.metadata import read_items


@dataclasses.dataclass(frozen=True)
class Item:
    """A clip: ``wav`` is its sound file, ``video`` its video, or none."""

    wav: Path
    caption: str
    video: Path | None = None


@dataclasses.dataclass(frozen=True)
class ItemList:
    """What a list holds, and what was done about captions that are no queries.

    Attributes:
        items: In the list's order.
        notes: Remark to number of items: those left out for an empty caption, those cut short.
    """

    items: list[Item]
    notes: Counter[str]


def read_list(path: Path) -> ItemList:
    """Read a list.

    An item whose caption holds no word is left out; a caption of more than 512 characters is
    cut after the last word within them (encoders read less than that); line breaks and control
    characters become spaces. Both are counted.

    Raises:
        AudioPathError: The file is missing or cannot be read.
        MetadataError: It is no UTF-8, no JSON, or has another form; the message names line and
            field.
    """
    items: list[Item] = []
    notes: Counter[str] = Counter()
    for row in read_items(path, ("wav", "caption"), ("video",)):
        caption = _caption(row["caption"], notes)
        if caption is not None:
            video = row.get("video")
            wav = path.parent / row["wav"]
            items.append(Item(wav, caption, path.parent / video if video else None))
    return ItemList(items, notes)


def write_list(path: Path, items: Iterable[Item]) -> int:
    """Write a list, as a whole or not at all; one item a line, paths relative to the list.

    Returns:
        Number of items.

    Raises:
        AudioPathError: The file cannot be written.
    """
    lines = [json.dumps(_row(item, path.parent), ensure_ascii=False) for item in items]
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text('{"data": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise AudioPathError(
            f"{path} cannot be written ({error.strerror}); choose another"
        ) from None
    return len(lines)


def _row(item: Item, folder: Path) -> dict[str, str]:
    row = {"wav": os.path.relpath(item.wav, folder), "caption": item.caption}
    return {**row, "video": os.path.relpath(item.video, folder)} if item.video else row


def _caption(text: str, notes: Counter[str]) -> str | None:
    """The caption as an encoder takes it; None if it asks for nothing."""
    printable = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)
    caption = " ".join(unicodedata.normalize("NFC", printable).split())
    if all(unicodedata.category(character)[0] in "CZ" for character in caption):
        notes["left out, the caption is empty"] += 1
        return None
    if len(caption) > MAX_QUERY_CHARACTERS:
        notes[f"caption cut to {MAX_QUERY_CHARACTERS} characters"] += 1
        head = caption[: MAX_QUERY_CHARACTERS + 1].rpartition(" ")[0]
        return head or caption[:MAX_QUERY_CHARACTERS]
    return caption

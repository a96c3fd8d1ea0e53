"""JSON lists of clips, as the released code reads them: ``{"data": [{"wav", "caption"}, ...]}``.

An item may also name a ``video``, whose frames can stand in for the caption, and a ``mixture``,
a recording of the same length in which the clip is heard with noise. Paths are relative to the
list's folder.
"""

from __future__ import annotations

import dataclasses
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from audiosep_core.atomic import replacing
from audiosep_core.errors import AudioPathError
from audiosep_core.query.text import MAX_QUERY_CHARACTERS
from audiosep_training.datasets.metadata import read_entries

_OPTIONAL = ("video", "mixture")


@dataclasses.dataclass(frozen=True)
class ListedClip:
    """A clip: ``wav`` is its sound file, ``video`` its video, ``mixture`` the clip in noise."""

    wav: Path
    caption: str
    video: Path | None = None
    mixture: Path | None = None


@dataclasses.dataclass(frozen=True)
class ClipList:
    """What a list holds, and what was done about captions that are no queries.

    Attributes:
        items: In the list's order.
        notes: Remark to number of items: those left out for an empty caption, those cut short.
    """

    items: list[ListedClip]
    notes: Counter[str]


def read_clip_list(path: Path) -> ClipList:
    """Read a list.

    An item whose caption holds no word is left out; a caption of more than 512 characters is
    cut after the last word within them (encoders read less than that); line breaks and control
    characters become spaces. Both are counted.

    Raises:
        AudioPathError: The file is missing or cannot be read.
        MetadataError: It is no UTF-8, no JSON, or has another form; the message names line and
            field.
    """
    items: list[ListedClip] = []
    notes: Counter[str] = Counter()
    for row in read_entries(path, ("wav", "caption"), _OPTIONAL):
        caption = _caption(row["caption"], notes)
        if caption is not None:
            further = {field: path.parent / row[field] for field in _OPTIONAL if field in row}
            items.append(ListedClip(path.parent / row["wav"], caption, **further))
    return ClipList(items, notes)


def write_clip_list(path: Path, items: Iterable[ListedClip]) -> int:
    """Write a list, as a whole or not at all; one item a line, paths relative to the list.

    Returns:
        Number of items.

    Raises:
        AudioPathError: The file cannot be written.
    """
    lines = [json.dumps(_row(item, path.parent), ensure_ascii=False) for item in items]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text('{"data": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
    except OSError as error:
        raise AudioPathError(
            f"{path} cannot be written ({error.strerror}); choose another"
        ) from None
    return len(lines)


def _row(item: ListedClip, folder: Path) -> dict[str, str]:
    row = {"wav": os.path.relpath(item.wav, folder), "caption": item.caption}
    for field in _OPTIONAL:
        if path := getattr(item, field):
            row[field] = os.path.relpath(path, folder)
    return row


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

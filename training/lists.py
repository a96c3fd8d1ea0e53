"""JSON lists of clips, as the released code reads them: ``{"data": [{"wav", "caption"}, ...]}``.

An item may also name a ``video``, whose frames can stand in for the caption. Paths are relative
to the list's folder.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from audiosep_core.errors import UsageError
from audiosep_core.text import MAX_QUERY_CHARACTERS

_ARRAY = re.compile(r'"data"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
_FIELDS = {"wav": True, "caption": True, "video": False}


class ListError(UsageError, ValueError):
    """A list cannot be read, or does not have the form it should."""


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
        ListError: The file is missing, no UTF-8, no JSON, or has another form; the message
            names line and field.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes().count(b"\n", 0, error.start) + 1
        raise ListError(f"{path}, line {line}: not UTF-8; save the list as UTF-8") from None
    except OSError as error:
        raise ListError(f"{path} cannot be read ({error.strerror}); give a JSON list") from None
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ListError(f"{path}, line {error.lineno}: no JSON ({error.msg})") from None
    rows = content.get("data") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise ListError(
            f'{path}, line 1: the field "data" must hold a list of items, as in '
            '{"data": [{"wav": "dog.wav", "caption": "a dog barks"}]}'
        )
    items: list[Item] = []
    notes: Counter[str] = Counter()
    for number, row in enumerate(rows):
        fault = _fault(row)
        if fault:
            field, problem = fault
            line = _line(text, number, field)
            raise ListError(f'{path}, line {line}: the field "{field}" {problem}')
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
        ListError: The file cannot be written.
    """
    lines = [json.dumps(_row(item, path.parent), ensure_ascii=False) for item in items]
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text('{"data": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ListError(f"{path} cannot be written ({error.strerror}); choose another") from None
    return len(lines)


def _row(item: Item, folder: Path) -> dict[str, str]:
    row = {"wav": os.path.relpath(item.wav, folder), "caption": item.caption}
    return {**row, "video": os.path.relpath(item.video, folder)} if item.video else row


def _fault(row: Any) -> tuple[str, str] | None:
    """The first field of an item that is wrong, and how; None if all are right."""
    if not isinstance(row, dict):
        return "data", f"holds {row!r:.40}, where an item with wav and caption must be"
    for field, needed in _FIELDS.items():
        if field not in row:
            if needed:
                return field, "is missing from an item; every item has wav and caption"
        elif not isinstance(row[field], str):
            return field, f"must be text, not {row[field]!r:.40}"
        elif field != "caption" and not row[field]:
            return field, "is empty; give a path"
    return None


def _line(text: str, number: int, field: str) -> int:
    """The line of a field of item ``number``, or of the item where it has none."""
    decoder = json.JSONDecoder()
    array = _ARRAY.search(text)
    place = array.end() if array else 0
    for _ in range(number):
        _, place = decoder.raw_decode(text, _skip(text, place))
    start = _skip(text, place)
    _, end = decoder.raw_decode(text, start)
    found = text.find(f'"{field}"', start, end)
    return text.count("\n", 0, found if found >= 0 else start) + 1


def _skip(text: str, place: int) -> int:
    match = _BETWEEN.match(text, place)
    return match.end() if match else place


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

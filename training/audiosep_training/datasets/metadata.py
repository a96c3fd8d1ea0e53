"""Tables and lists that describe sounds, as text, with faults named by line and field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from audiosep_core.errors import AudioPathError, MetadataError

_ARRAY = re.compile(r'"data"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")


def field_fault(path: Path, line: int, field: str, what: str) -> MetadataError:
    """The error for a field that is not as it should be.

    Args:
        path: The file.
        line: Where in it, from 1.
        field: The field's name.
        what: What is wrong: "is empty".
    """
    return MetadataError(f"{path} line {line}: the field {field!r} {what}; mend it")


def read_lines(path: Path, remedy: str = "check the path", latin: bool = False) -> Iterator[str]:
    """Lines of a UTF-8 file with their ends, one after another; a byte order mark is left out.

    Args:
        path: The file.
        remedy: What to do where there is none.
        latin: Whether a line that is no UTF-8 is taken as ISO-8859-1.

    Raises:
        AudioPathError: It is missing or cannot be read.
        MetadataError: It is not UTF-8.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise AudioPathError(f"{path} does not exist; {remedy}") from None
    except OSError as error:
        raise AudioPathError(f"{path} cannot be read ({error.strerror}); {remedy}") from None
    with file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                if latin:
                    yield line.decode("iso-8859-1")
                    continue
                raise MetadataError(
                    f"{path} line {number}, byte {error.start + 1} is not UTF-8; save it as UTF-8"
                ) from None


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        AudioPathError: It is missing or cannot be read.
        MetadataError: It is not UTF-8, or no JSON.
    """
    try:
        return json.loads("".join(read_lines(path)))
    except json.JSONDecodeError as error:
        raise MetadataError(f"{path} line {error.lineno}: no JSON ({error.msg}); mend it") from None


def read_entries(
    path: Path, needed: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Items of ``{"data": [{...}, ...]}``, one after another.

    Args:
        path: The JSON file.
        needed: Fields that every item has.
        optional: Fields that an item may have. These and the needed ones are text that is not
            empty; captions may be.

    Raises:
        AudioPathError: The file is missing or cannot be read.
        MetadataError: It is not UTF-8, no JSON, or has another form.
    """
    content = read_json(path)
    items = content.get("data") if isinstance(content, dict) else None
    if not isinstance(items, list):
        example = json.dumps({"data": [dict.fromkeys(needed, "...")]})
        raise field_fault(path, 1, "data", f"must hold a list of items, as in {example}")
    for number, item in enumerate(items):
        if fault := _fault(item, needed, optional):
            field, what = fault
            raise field_fault(path, _line("".join(read_lines(path)), number, field), field, what)
        yield item


def _fault(item: Any, needed: Sequence[str], optional: Sequence[str]) -> tuple[str, str] | None:
    """The first field of an item that is wrong, and how; None if all are right."""
    fields = " and ".join(needed)
    if not isinstance(item, dict):
        return "data", f"holds {item!r:.40}, where an item with {fields} must be"
    for field in (*needed, *optional):
        if field not in item:
            if field in needed:
                return field, f"is missing from an item; every item has {fields}"
        elif not isinstance(item[field], str):
            return field, f"must be text, not {item[field]!r:.40}"
        elif field != "caption" and not item[field]:
            return field, "is empty"
    return None


def _line(text: str, number: int, field: str) -> int:
    """The line of a field of item ``number``, or of the item where it has none."""
    decoder = json.JSONDecoder()
    array = _ARRAY.search(text)
    offset = array.end() if array else 0
    for _ in range(number):
        _, offset = decoder.raw_decode(text, _skip(text, offset))
    start = _skip(text, offset)
    _, end = decoder.raw_decode(text, start)
    found = text.find(f'"{field}"', start, end)
    return text.count("\n", 0, found if found >= 0 else start) + 1


def _skip(text: str, offset: int) -> int:
    match = _BETWEEN.match(text, offset)
    return match.end() if match else offset

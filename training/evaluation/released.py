"""Released tables as recipes: they name the files that the paper's own mixtures are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.recordings import Recording, Shelf
from training.tables import Row, read_table, table_columns

TARGET = "src_wav"
#: Columns of backgrounds begin so; Clotho has two, which lie one after the other.
_BACKGROUND = "noise_wav"
#: Joins the names of target and background in VGGSound's table.
JOINT = "+++"


@dataclasses.dataclass(frozen=True)
class Pair:
    """What is mixed.

    Attributes:
        target: What is asked for.
        backgrounds: Recordings that share no label with it, to be joined end to end.
        query: Caption or label of the target.
        fields: Further columns of the set's table.
    """

    target: Recording
    backgrounds: tuple[Recording, ...]
    query: str
    fields: dict[str, str] = dataclasses.field(default_factory=dict)


def is_released(table: Path) -> bool:
    """Whether a table names all files of each mixture."""
    if table.suffix.lower() != ".csv":
        return False
    columns = table_columns(table)
    return "file_id" in columns or (TARGET in columns and bool(_backgrounds(columns)))


def released_pairs(shelf: Shelf, table: Path, columns: Sequence[str]) -> Iterator[Pair]:
    """The pairs of a released table.

    Args:
        shelf: Where the raw files are; names like ``abc_3.wav`` may stand for a segment.
        table: With ``src_wav``, ``noise_wav`` or several that begin so, and the columns.
        columns: Queries, the first of which is the pair's.

    Raises:
        MetadataError: A file is missing; the line and the field are named.
    """
    backgrounds = _backgrounds(table_columns(table))
    for row in read_table(table, [*columns, TARGET]):
        target, *others = (_recording(shelf, row, column) for column in (TARGET, *backgrounds))
        fields = {column: row.text(column) for column in columns}
        yield Pair(target, tuple(others), row.text(columns[0]), fields)


def released_clips(shelf: Shelf, table: Path) -> Iterator[Pair]:
    """The pairs of VGGSound's released table, whose ``file_id`` joins the names of two clips.

    Raises:
        MetadataError: A file is missing; the line and the field are named.
    """
    for row in read_table(table, ["file_id", "s0_text", "s1_text"]):
        names = row.text("file_id").split(JOINT)
        if len(names) != 2:
            raise row.fault("file_id", f"does not join two names with {JOINT!r}")
        found = []
        for name, column in zip(names, ("s0_text", "s1_text"), strict=True):
            path = shelf.find(name, f"Y{name}")
            if path is None:
                raise row.fault("file_id", f"names {name!r}, which is not below {shelf.folder}")
            found.append(Recording(path, (row.text(column),)))
        yield Pair(found[0], (found[1],), row.text("s0_text"))


def _backgrounds(columns: Sequence[str]) -> list[str]:
    return [column for column in columns if column.startswith(_BACKGROUND)]


def _recording(shelf: Shelf, row: Row, column: str) -> Recording:
    name = row.text(column)
    recording = shelf.recording(name)
    if recording is None:
        raise row.fault(column, f"names {name!r}, which is not below {shelf.folder}")
    return recording

"""Released tables as recipes: they name the files that the paper's own mixtures are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from audiosep_training.datasets.recordings import JOINT, AudioFileIndex, Recording
from audiosep_training.datasets.tables import read_table, table_columns

TARGET = "src_wav"
#: Columns of backgrounds begin so; Clotho has two, which lie one after the other.
_BACKGROUND = "noise_wav"


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


def released_pairs(index: AudioFileIndex, table: Path, columns: Sequence[str]) -> Iterator[Pair]:
    """The pairs of a released table.

    Args:
        index: Where the raw files are; names like ``abc_3.wav`` may stand for a segment.
        table: With ``src_wav``, ``noise_wav`` or several that begin so, and the columns.
        columns: Queries, the first of which is the pair's.

    Mixtures of which a file is missing are left out; the index keeps what was missing.

    Raises:
        MetadataError: A row is damaged; the line and the field are named.
    """
    backgrounds = _backgrounds(table_columns(table))
    for row in read_table(table, [*columns, TARGET]):
        found = [index.recording(row.text(column)) for column in (TARGET, *backgrounds)]
        there = [recording for recording in found if recording is not None]
        if len(there) == len(found):
            fields = {column: row.text(column) for column in columns}
            yield Pair(there[0], tuple(there[1:]), row.text(columns[0]), fields)


def released_clips(index: AudioFileIndex, table: Path) -> Iterator[Pair]:
    """The pairs of VGGSound's released table, whose ``file_id`` joins the names of two clips.

    Mixtures of which a file is missing are left out; the index keeps what was missing.

    Raises:
        MetadataError: A row is damaged; the line and the field are named.
    """
    for row in read_table(table, ["file_id", "s0_text", "s1_text"]):
        names = row.text("file_id").split(JOINT)
        if len(names) != 2:
            raise row.fault("file_id", f"does not join two names with {JOINT!r}")
        target, other = (index.recording(f"{name}.wav") for name in names)
        if target is not None and other is not None:
            target = dataclasses.replace(target, labels=(row.text("s0_text"),))
            other = dataclasses.replace(other, labels=(row.text("s1_text"),))
            yield Pair(target, (other,), row.text("s0_text"))


def _backgrounds(columns: Sequence[str]) -> list[str]:
    return [column for column in columns if column.startswith(_BACKGROUND)]

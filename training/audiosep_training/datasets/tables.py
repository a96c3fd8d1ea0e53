"""Tables that come with corpora: csv files, whose faults are named by line and field."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from audiosep_core.errors import MetadataError
from audiosep_training.datasets.metadata import field_fault, read_lines


class TableRow:
    """One row of a table.

    Args:
        path: The table.
        line: Where the row ends in it.
        values: Name of a column to its value.
    """

    def __init__(self, path: Path, line: int, values: dict[str, str]) -> None:
        self.path = path
        self.line = line
        self.values = values

    def text(self, column: str) -> str:
        """A value with white space around it removed.

        Raises:
            MetadataError: It is empty.
        """
        value = self.values[column].strip()
        if not value:
            raise self.fault(column, "is empty")
        return value

    def number(self, column: str) -> int:
        """A value that is a whole number from 0.

        Raises:
            MetadataError: It is something else.
        """
        value = self.text(column)
        if not value.isdecimal():
            raise self.fault(column, f"holds {_shortened(value)!r} where a whole number is due")
        return int(value)

    def seconds(self, column: str) -> float:
        """A value that is a time in seconds.

        Raises:
            MetadataError: It is something else.
        """
        value = self.text(column)
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not math.isfinite(seconds):
            raise self.fault(column, f"holds {_shortened(value)!r}, no time in seconds")
        return seconds

    def fault(self, column: str, what: str) -> MetadataError:
        """An error that names this row's line and one of its fields."""
        return field_fault(self.path, self.line, column, what)


def read_table(
    path: Path,
    columns: Sequence[str],
    names: Sequence[str] | None = None,
    latin: bool = False,
) -> Iterator[TableRow]:
    """Rows of a csv file, one after another; those that start with "# " are left out.

    Args:
        path: The file, UTF-8.
        columns: What has to be there.
        names: Names of the columns where the file has no line of them.
        latin: Whether lines that are no UTF-8 are taken as ISO-8859-1, as Clotho's are.

    Raises:
        AudioPathError: It is missing or cannot be read.
        MetadataError: It is not UTF-8, lacks a column, or a row has too few or too many fields.
    """
    rows = _rows(path, latin)
    header = _distinct(names or _first(rows))
    missing = [column for column in columns if column not in header]
    if missing:
        raise MetadataError(
            f"{path} line 1: the column {missing[0]!r} is missing; there are "
            f"{', '.join(map(repr, header)) or 'none'}"
        )
    for line, fields in rows:
        if len(fields) != len(header):
            raise MetadataError(
                f"{path} line {line}: {len(fields)} fields where {len(header)} are "
                f"due ({', '.join(header)}); put quotes around a field with commas"
            )
        yield TableRow(path, line, dict(zip(header, fields, strict=True)))


def table_columns(path: Path, latin: bool = False) -> list[str]:
    """Names of the columns; none for an empty file.

    Raises:
        AudioPathError: It is missing or cannot be read.
        MetadataError: It is not UTF-8.
    """
    return _distinct(_first(_rows(path, latin)))


def _rows(path: Path, latin: bool) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold something, each with the line that it ends in."""
    lines = read_lines(path, "name the table with --metadata", latin)
    rows = csv.reader(lines, skipinitialspace=True)
    try:
        for fields in rows:
            # AudioSet's lists begin with comments, the last of which names the columns.
            if fields and not fields[0].startswith("# "):
                yield rows.line_num, fields
    except csv.Error as error:
        raise MetadataError(f"{path} line {rows.line_num}: {error}; mend it") from None


def _first(rows: Iterator[tuple[int, list[str]]]) -> list[str]:
    return next(rows, (0, []))[1]


def _distinct(columns: Sequence[str]) -> list[str]:
    """Names of columns; of several with one name the later ones get a number."""
    seen: Counter[str] = Counter()
    distinct = []
    for column in columns:
        distinct.append(f"{column}.{seen[column]}" if seen[column] else column)
        seen[column] += 1
    return distinct


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"

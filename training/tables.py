"""Tables that come with corpora: csv files, whose faults are named by line and field."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from audiosep_core.errors import AudioPathError, MetadataError


class Row:
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
            return float(value)
        except ValueError:
            raise self.fault(column, f"holds {_shortened(value)!r}, no time in seconds") from None

    def fault(self, column: str, what: str) -> MetadataError:
        """An error that names this row's line and one of its fields."""
        return MetadataError(f"{self.path} line {self.line}: the field {column!r} {what}; mend it")


def read_table(
    path: Path, columns: Sequence[str], names: Sequence[str] | None = None
) -> Iterator[Row]:
    """Rows of a csv file, one after another; lines that start with "# " are left out.

    Args:
        path: The file, UTF-8.
        columns: What has to be there.
        names: Names of the columns where the file has no line of them.

    Raises:
        AudioPathError: There is no such file.
        MetadataError: It is not UTF-8, lacks a column, or a row has too few or too many fields.
    """
    if not path.is_file():
        raise AudioPathError(f"{path} does not exist; name the table with --metadata")
    rows = csv.reader(_lines(path), skipinitialspace=True)
    try:
        header = _distinct(names or next(rows, []))
        missing = [column for column in columns if column not in header]
        if missing:
            raise MetadataError(
                f"{path} line 1: the column {missing[0]!r} is missing; there are "
                f"{', '.join(map(repr, header)) or 'none'}"
            )
        for fields in rows:
            if not fields:
                continue
            if len(fields) != len(header):
                raise MetadataError(
                    f"{path} line {rows.line_num}: {len(fields)} fields where {len(header)} are "
                    f"due ({', '.join(header)}); put quotes around a field with commas"
                )
            yield Row(path, rows.line_num, dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise MetadataError(f"{path} line {rows.line_num}: {error}; mend it") from None


def table_columns(path: Path) -> list[str]:
    """Names of the columns; none for an empty file.

    Raises:
        AudioPathError: There is no such file.
        MetadataError: It is not UTF-8.
    """
    if not path.is_file():
        raise AudioPathError(f"{path} does not exist; name the table with --metadata")
    return _distinct(next(csv.reader(_lines(path), skipinitialspace=True), []))


def _distinct(columns: Sequence[str]) -> list[str]:
    """Names of columns; of several with one name the later ones get a number."""
    seen: Counter[str] = Counter()
    distinct = []
    for column in columns:
        distinct.append(f"{column}.{seen[column]}" if seen[column] else column)
        seen[column] += 1
    return distinct


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise MetadataError(
                    f"{path} line {number}, byte {error.start + 1} is not UTF-8; save the table "
                    "as UTF-8"
                ) from None
            # AudioSet's lists begin with comments, the last of which names the columns.
            if not text.startswith("# "):
                yield text


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"

"""What has been measured, item by item: kept in a file, so that a run goes on where it stopped."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from audiosep_core import atomic
from audiosep_core.errors import AudioFileError, AudioPathError
from audiosep_core.plain import from_plain

FILE = "scores.jsonl"


@dataclasses.dataclass(frozen=True)
class Record:
    """How one separator did on one item.

    Attributes:
        separator: Its name.
        key: What it is, exactly (the key of a
            :class:`audiosep_training.evaluation.running.separators.SeparatorSpec`).
        item: The item's id.
        group: The item's group.
        query: The item's query.
        fingerprint: Of the item's sounds.
        scores: Metric to value, None where it is undefined; empty if the item failed.
        error: Why the item failed; empty if it did not.
    """

    separator: str
    key: str
    item: str
    group: str
    query: str
    fingerprint: str
    scores: dict[str, float | None]
    error: str = ""

    @property
    def question(self) -> tuple[str, str, str, str, str]:
        """What was asked, and of whom: a record answers it for good."""
        return self.key, self.item, self.group, self.query, self.fingerprint


class ScoreFile:
    """Appends records to a file, each as soon as it is there; use as a context manager.

    Args:
        path: The file; records that it holds are read. None keeps nothing.

    Raises:
        AudioPathError: The file cannot be read or written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._known: dict[tuple[str, ...], Record] = {}
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                self._read(path)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise AudioPathError(f"{path} cannot be used: {error.strerror or error}") from None

    def __enter__(self) -> ScoreFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            # On a full disk closing fails, too, but that has been told.
            with suppress(OSError):
                self._file.close()

    def find(self, question: tuple[str, ...], metrics: Sequence[str]) -> Record | None:
        """A record that answers a question with all metrics; failures are asked again."""
        record = self._known.get(question)
        if record is None or record.error or not record.scores.keys() >= set(metrics):
            return None
        return record

    def add(self, record: Record) -> None:
        """Keep a record.

        Raises:
            AudioFileError: The disk is full or gone.
        """
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(dataclasses.asdict(record), ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise AudioFileError(
                f"{self._path} cannot be written: {error.strerror or error}; run again to go on"
            ) from None

    def _read(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            try:
                record = from_plain(Record, json.loads(line))
            except ValueError:
                # The last line of a run that was killed while writing it.
                continue
            self._known[record.question] = record
        if text and not text.endswith("\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")


def write_csv(path: Path, records: Iterable[Record], metrics: Sequence[str]) -> None:
    """One row for each item and separator.

    Raises:
        AudioPathError: The file cannot be written.
    """
    with replacing_scores(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["separator", "item", "group", "query", *metrics, "error"])
        for record in records:
            values = [record.scores.get(metric) for metric in metrics]
            cells = ["" if value is None else f"{value:.4f}" for value in values]
            fields = [record.separator, record.item, record.group, record.query]
            writer.writerow([*fields, *cells, record.error])


@contextmanager
def replacing_scores(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of ``path`` when it is whole.

    Raises:
        AudioPathError: It cannot be written.
    """
    try:
        with atomic.replacing(path) as partial:
            yield partial
    except OSError as error:
        raise AudioPathError(f"{path} cannot be written: {error.strerror or error}") from None

"""Tells the outcome of a benchmark: in the terminal, and as JSON, CSV and PNG."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import click
from rich.markup import escape

from audiosep_core.commands.console import console
from audiosep_core.errors import AudioFileError, MissingPackageError
from audiosep_training.evaluation.reporting.picture import save_picture
from audiosep_training.evaluation.reporting.summary import summarise
from audiosep_training.evaluation.reporting.table import print_table
from audiosep_training.evaluation.running.records import Record, replacing_scores, write_csv
from audiosep_training.evaluation.sets.benches import BENCHES

_MOST_LINES = 10


def publish(
    name: str,
    answers: Sequence[Sequence[Record]],
    metrics: Sequence[str],
    folder: Path | None,
    as_json: bool,
) -> bool:
    """Print the figures, and write ``report.json``, ``items.csv`` and ``report.png``.

    Args:
        name: The benchmark.
        answers: For each item the records of all separators.
        metrics: What was measured.
        folder: Where the files go; None for none.
        as_json: Print JSON instead of a table.

    Returns:
        Whether items failed.

    Raises:
        AudioFileError: All items failed.
        AudioPathError: A file cannot be written.
    """
    bench = BENCHES[name]
    summary = summarise(answers, metrics, bench.average)
    if folder is not None:
        write_csv(folder / "items.csv", itertools.chain.from_iterable(answers), metrics)
    _tell_failures(summary.failures)
    if not summary.rows:
        raise AudioFileError("no item could be measured by all separators; see the failures above")
    report = {"bench": name, **summary.as_json(metrics), "paper": dict(bench.paper)}
    text = json.dumps(report, indent=2, ensure_ascii=False)
    if folder is not None:
        with replacing_scores(folder / "report.json") as partial:
            partial.write_text(text + "\n", encoding="utf-8")
        try:
            save_picture(folder / "report.png", f"{name}: {len(answers)} items", summary, metrics)
        except MissingPackageError as error:
            # The figures are there; only their picture is not.
            print_lines("[yellow]no report.png:[/yellow]", [str(error)])
    if as_json:
        click.echo(text)
    else:
        print_table(summary, bench, metrics)
    for metric, missing in summary.undefined.items():
        print_lines(
            "[yellow]undefined:[/yellow]", [f"{metric}, so it leaves out {missing} item(s)"]
        )
    return bool(summary.failures)


def print_lines(mark: str, lines: Sequence[str]) -> None:
    """Print the first of some lines to the error stream, and how many there are beyond."""
    for line in lines[:_MOST_LINES]:
        console.print(f"{mark} {escape(line)}", highlight=False)
    if len(lines) > _MOST_LINES:
        console.print(f"and {len(lines) - _MOST_LINES} more", highlight=False)


def _tell_failures(failures: Sequence[Record]) -> None:
    # A sound that cannot be read fails all separators with one error.
    names: dict[tuple[str, str], list[str]] = {}
    for record in failures:
        names.setdefault((record.item, record.error), []).append(record.separator)
    lines = [
        f"item {item}, {', '.join(dict.fromkeys(separators))}: {error}"
        for (item, error), separators in names.items()
    ]
    print_lines("[red]failed:[/red]", lines)
    if failures:
        items = len({(record.item, record.query) for record in failures})
        console.print(f"{items} item(s) failed and are in no figure", highlight=False)

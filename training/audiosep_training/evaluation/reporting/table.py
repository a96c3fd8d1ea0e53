"""The outcome of a benchmark as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from audiosep_training.evaluation.measures.scores import METRICS
from audiosep_training.evaluation.reporting.summary import ALL, Summary
from audiosep_training.evaluation.sets.benches import Bench

#: With more groups than this only the figures of all are printed; the files hold the rest.
MOST_GROUPS = 12
_PAPER = "AudioSep, paper"


def print_table(summary: Summary, bench: Bench, metrics: Sequence[str]) -> None:
    """Print figures by group and separator; the best of several separators is bold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    groups = [*(summary.groups if len(summary.groups) <= MOST_GROUPS else []), ALL]
    separators = list(dict.fromkeys(row.separator for row in summary.rows))
    if len(groups) > 1:
        table.add_column("group", no_wrap=True)
    table.add_column("separator", no_wrap=True)
    table.add_column("items", justify="right")
    for metric in metrics:
        table.add_column(METRICS[metric].title, justify="right", no_wrap=True)
    for group in groups:
        rows = [summary.row(separator, group) for separator in separators]
        best = {
            metric: max((f for row in rows if (f := row.figures[metric]) is not None), default=None)
            for metric in metrics
        }
        for row in rows:
            title = group if row is rows[0] else ""
            cells = [Text(title)] if len(groups) > 1 else []
            cells += [Text(row.separator), Text(str(row.items))]
            for metric in metrics:
                value = row.figures[metric]
                leads = len(rows) > 1 and value is not None and value == best[metric]
                cells.append(Text(_number(value, metric), style="bold" if leads else ""))
            table.add_row(*cells, style="cyan" if group == ALL and len(groups) > 1 else "")
    if any(metric in bench.paper for metric in metrics):
        figures = [_number(bench.paper.get(metric), metric) for metric in metrics]
        table.add_row(*([ALL] if len(groups) > 1 else []), _PAPER, "", *figures, style="dim")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def _number(value: float | None, metric: str) -> str:
    return "" if value is None else f"{value:.{METRICS[metric].decimals}f}"

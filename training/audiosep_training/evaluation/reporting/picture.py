"""The outcome of a benchmark as a PNG: bars by group, or a curve over many classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiosep_core.files.picture import new_figure
from audiosep_training.evaluation.measures.scores import METRICS
from audiosep_training.evaluation.reporting.summary import ALL, Summary
from audiosep_training.evaluation.reporting.table import MOST_GROUPS
from audiosep_training.evaluation.running.records import replacing_scores

_COLUMNS = 2


def save_picture(path: Path, title: str, summary: Summary, metrics: Sequence[str]) -> None:
    """Draw one panel for each metric.

    Raises:
        AudioPathError: The picture cannot be written.
        MissingPackageError: matplotlib is not installed.
    """
    columns = min(_COLUMNS, len(metrics))
    lines = -(-len(metrics) // columns)
    figure = new_figure(6.5 * columns, 3.6 * lines + 0.6)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    many = len(summary.groups) > MOST_GROUPS
    for panel, metric in zip(panels, metrics, strict=False):
        (_curves if many else _bars)(panel, summary, metric)
        panel.set_title(METRICS[metric].title, loc="left")
        panel.grid(axis="y", alpha=0.3)
        panel.set_axisbelow(True)
    for panel in panels[len(metrics) :]:
        panel.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
    figure.suptitle(title, x=0.01, ha="left")
    with replacing_scores(path) as partial:
        figure.savefig(partial, dpi=110, format="png")


def _bars(panel: Any, summary: Summary, metric: str) -> None:
    groups = [*summary.groups, ALL]
    separators = _separators(summary)
    width = 0.8 / len(separators)
    for number, separator in enumerate(separators):
        figures = [summary.row(separator, group).figures[metric] for group in groups]
        places = np.arange(len(groups)) + (number - (len(separators) - 1) / 2) * width
        heights = [np.nan if figure is None else figure for figure in figures]
        panel.bar(places, heights, 0.92 * width, label=separator)
    panel.axhline(0, color="black", linewidth=0.8)
    crowded = sum(map(len, groups)) > 60
    panel.set_xticks(
        range(len(groups)),
        groups,
        rotation=30 if crowded else 0,
        ha="right" if crowded else "center",
    )


def _curves(panel: Any, summary: Summary, metric: str) -> None:
    for separator in _separators(summary):
        figures = [summary.row(separator, group).figures[metric] for group in summary.groups]
        ordered = sorted((value for value in figures if value is not None), reverse=True)
        panel.plot(range(1, len(ordered) + 1), ordered, ".", markersize=4, label=separator)
    panel.axhline(0, color="black", linewidth=0.8)
    panel.set_xlabel("classes, best first")


def _separators(summary: Summary) -> list[str]:
    return list(dict.fromkeys(row.separator for row in summary.rows))

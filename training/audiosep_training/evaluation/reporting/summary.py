"""From the records of items to the figures of a benchmark."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from audiosep_training.evaluation.running.records import Record
from audiosep_training.evaluation.sets.benches import Average

ALL = "all"
Figures = dict[str, float | None]


@dataclasses.dataclass(frozen=True)
class SummaryRow:
    """The figures of one separator on one group of items, or on all.

    Attributes:
        separator: Its name.
        group: The group, or "all".
        items: How many items the figures are of.
        figures: Metric to figure; None where no item has a value.
    """

    separator: str
    group: str
    items: int
    figures: Figures


@dataclasses.dataclass(frozen=True)
class Summary:
    """The outcome of a benchmark.

    Attributes:
        rows: By group, then by separator; "all" comes last.
        failures: The records of items that failed.
        left_out: Items that a figure leaves out because some separator failed on them.
        undefined: Metric to the number of items that its figures leave out, because it is
            undefined for some separator.
    """

    rows: list[SummaryRow]
    failures: list[Record]
    left_out: int
    undefined: dict[str, int]

    def row(self, separator: str, group: str = ALL) -> SummaryRow:
        """One row.

        Raises:
            KeyError: There is none.
        """
        for row in self.rows:
            if (row.separator, row.group) == (separator, group):
                return row
        raise KeyError((separator, group))

    @property
    def groups(self) -> list[str]:
        """Names of the groups in their order, without "all"."""
        return list(dict.fromkeys(row.group for row in self.rows if row.group != ALL))

    def as_json(self, metrics: Sequence[str]) -> dict[str, Any]:
        """Everything, for a JSON document."""
        return {
            "metrics": list(metrics),
            "rows": [
                {
                    "separator": row.separator,
                    "group": row.group,
                    "items": row.items,
                    **{name: _rounded(value) for name, value in row.figures.items()},
                }
                for row in self.rows
            ],
            "left_out": self.left_out,
            "failures": [
                {"separator": record.separator, "item": record.item, "error": record.error}
                for record in self.failures
            ],
            "undefined": self.undefined,
        }


def summarise(
    answers: Iterable[Sequence[Record]], metrics: Sequence[str], average: Average
) -> Summary:
    """Average the records of a run; separators are compared on the items that all of them did.

    Args:
        answers: For each item the records of all separators.
        metrics: What was measured.
        average: How items become the figure of all.
    """
    groups: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    failures: list[Record] = []
    left_out = 0
    undefined: dict[str, int] = defaultdict(int)
    for records in answers:
        failed = [record for record in records if record.error]
        failures += failed
        if failed:
            left_out += 1
            continue
        missing = {
            metric for metric in metrics if any(record.scores[metric] is None for record in records)
        }
        for metric in missing:
            undefined[metric] += 1
        for record in records:
            scores = {**record.scores, **dict.fromkeys(missing)}
            same = dataclasses.replace(record, scores=scores)
            groups[record.group][record.separator].append(same)
    separators = list(next(iter(groups.values()), {}))
    rows = [
        SummaryRow(name, group, len(some[name]), _figures(some[name], metrics))
        for group, some in groups.items()
        if len(groups) > 1
        for name in separators
    ]
    for name in separators:
        by_group = [some[name] for some in groups.values()]
        rows.append(
            SummaryRow(name, ALL, sum(map(len, by_group)), _overall(by_group, metrics, average))
        )
    return Summary(rows, failures, left_out, dict(undefined))


def _overall(
    groups: Sequence[Sequence[Record]], metrics: Sequence[str], average: Average
) -> Figures:
    if average == "items":
        return _figures([record for records in groups for record in records], metrics)
    middle = np.median if average == "class medians" else np.mean
    classes = [_figures(records, metrics, middle) for records in groups]
    return {
        metric: _middle([figures[metric] for figures in classes], np.mean) for metric in metrics
    }


def _figures(
    records: Sequence[Record], metrics: Sequence[str], middle: Callable[..., Any] = np.mean
) -> Figures:
    return {
        metric: _middle([record.scores[metric] for record in records], middle) for metric in metrics
    }


def _middle(values: Sequence[float | None], middle: Callable[..., Any]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(middle(defined)) if defined else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

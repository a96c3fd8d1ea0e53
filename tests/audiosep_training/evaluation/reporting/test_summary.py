"""Averages as the paper takes them, over the items that all separators did."""

import numpy as np
import pytest

from audiosep_training.evaluation.reporting.summary import summarise
from audiosep_training.evaluation.running.records import Record, write_csv


def record(separator, item, group, sdri, error="", stoi=None):
    scores = {} if error else {"sdri": sdri, "stoi": stoi}
    return Record(separator, "key", str(item), group, "query", "print", scores, error)


#: Class a has three items and an outlier, class b one item.
VALUES = (("a", 1.0), ("a", 2.0), ("a", 9.0), ("b", 10.0))


@pytest.mark.parametrize(
    ("average", "expected"), [("items", 5.5), ("classes", 7.0), ("class medians", 6.0)]
)
def test_averages(average, expected):
    answers = [
        [record("mini", number, group, value)] for number, (group, value) in enumerate(VALUES)
    ]
    summary = summarise(answers, ["sdri"], average)
    assert summary.row("mini").figures["sdri"] == pytest.approx(expected)
    assert summary.row("mini").items == 4
    assert summary.row("mini", "a").figures["sdri"] == pytest.approx(4)
    assert summary.groups == ["a", "b"]


def test_separators_are_compared_on_what_all_did():
    answers = [
        [record("one", 0, "", 1.0), record("two", 0, "", 3.0)],
        [record("one", 1, "", 9.0), record("two", 1, "", None, error="broken")],
    ]
    summary = summarise(answers, ["sdri"], "items")
    assert [row.figures["sdri"] for row in summary.rows] == [1, 3]
    assert summary.left_out == 1 and [failure.error for failure in summary.failures] == ["broken"]
    assert not summary.groups


def test_an_undefined_value_is_left_out_for_all():
    answers = [
        [record("one", 0, "", 1.0, stoi=0.5), record("two", 0, "", 3.0, stoi=None)],
        [record("one", 1, "", 1.0, stoi=0.7), record("two", 1, "", 3.0, stoi=0.9)],
    ]
    summary = summarise(answers, ["sdri", "stoi"], "items")
    assert [row.figures["stoi"] for row in summary.rows] == [0.7, 0.9]
    assert summary.undefined == {"stoi": 1}
    assert summary.as_json(["sdri", "stoi"])["undefined"] == {"stoi": 1}


def test_nothing_gives_no_rows():
    assert summarise([], ["sdri"], "classes").rows == []
    failed = [[record("one", 0, "", None, error="broken")]]
    assert summarise(failed, ["sdri"], "items").rows == []


def test_csv_has_a_row_for_each_item(tmp_path):
    path = tmp_path / "items.csv"
    write_csv(path, [record("one", 0, "g", 1.23456, stoi=None)], ["sdri", "stoi"])
    assert path.read_text().splitlines() == [
        "separator,item,group,query,sdri,stoi,error",
        "one,0,g,query,1.2346,,",
    ]
    assert np.array_equal(list(tmp_path.iterdir()), [path])

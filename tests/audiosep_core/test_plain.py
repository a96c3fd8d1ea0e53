"""Plain data become dataclasses, or the field is named that does not fit."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosep_core.plain import FieldError, Reading, from_plain


@dataclasses.dataclass(frozen=True)
class Word:
    text: str
    gain: float = 0.0


@dataclasses.dataclass(frozen=True)
class Whole:
    count: int
    kind: Literal["one", "two"] = "one"
    words: list[Word] = dataclasses.field(default_factory=list)
    pair: tuple[int, int] = (1, 2)
    rest: tuple[float, ...] = ()
    table: dict[str, int] = dataclasses.field(default_factory=dict)
    mode: str | Word = "mix"
    level: float | None = None
    check: bool = True
    anything: Any = None


WHOLES = st.builds(
    Whole,
    st.integers(),
    st.sampled_from(["one", "two"]),
    st.lists(st.builds(Word, st.text(), st.floats(allow_nan=False, allow_infinity=False))),
    st.tuples(st.integers(), st.integers()),
    st.lists(st.floats(allow_nan=False, allow_infinity=False)).map(tuple),
    st.dictionaries(st.text(), st.integers()),
    st.text() | st.builds(Word, st.text()),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none() | st.lists(st.integers()),
)


@given(WHOLES)
def test_what_json_carries_comes_back(whole: Whole) -> None:
    assert from_plain(Whole, json.loads(json.dumps(dataclasses.asdict(whole)))) == whole


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (3, r"the whole must hold fields, not 3"),
        ({}, r"count is missing"),
        ({"count": True}, r"count must be an integer, not True"),
        ({"count": 1.0}, r"count must be an integer, not 1\.0"),
        ({"count": 1, "kind": "three"}, r"kind must be one of one, two"),
        ({"count": 1, "kind": []}, r"kind must be one of one, two"),
        ({"count": 1, "words": "all"}, r"words must be a list, not 'all'"),
        ({"count": 1, "words": [{}]}, r"words\[0\]\.text is missing"),
        ({"count": 1, "words": ["drums"]}, r"words\[0\] must hold fields, not 'drums'"),
        ({"count": 1, "pair": [1]}, r"pair must be a list of 2, not of 1"),
        ({"count": 1, "rest": [1, "x"]}, r"rest\[1\] must be a number, not 'x'"),
        ({"count": 1, "table": []}, r"table must be a table, not \[\]"),
        ({"count": 1, "table": {"a": "b"}}, r"table\.a must be an integer, not 'b'"),
        ({"count": 1, "mode": 3}, r"mode must be a text, not 3"),
        ({"count": 1, "mode": {"gain": 1}}, r"mode\.text is missing"),
        ({"count": 1, "level": 1 << 60}, r"level must be a finite number"),
        ({"count": 1, "level": float("nan")}, r"level must be a finite number"),
        ({"count": 1, "check": 1}, r"check must be true or false, not 1"),
        ({"count": 1, "cuont": 1}, r"cuont is no known field; did you mean count\?"),
        ({"count": 1, "zzz": 1}, r"zzz is no known field; known: count, kind, "),
    ],
)
def test_a_field_that_does_not_fit_is_named(data: Any, sentence: str) -> None:
    with pytest.raises(FieldError, match=f"^{sentence}"):
        from_plain(Whole, data)
    if isinstance(data, dict) and data:
        with pytest.raises(FieldError, match=r"^file\."):
            from_plain(Whole, data, "file")


def test_readings() -> None:
    loose = Reading(ignore_unknown=True, natural=True, bare={Word: "text"})
    assert from_plain(Whole, {"count": 1, "zzz": 1, "words": ["a"]}, "", loose).words == [Word("a")]
    for count in (-1, 1 << 53):
        with pytest.raises(FieldError, match=r"^count must be from 0 to 2\^53"):
            from_plain(Whole, {"count": count}, "", loose)

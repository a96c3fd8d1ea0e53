"""AudioSet's classes: found in captions, drawn equally often."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosep_training.data.batches import DataError
from audiosep_training.data.classes import CLASSES, ClassQueue, classes_in


def test_names_with_commas_are_found():
    assert CLASSES["Speech"] == 0 and len(CLASSES) == 527
    caption = "Speech, Male speech, man speaking, no such class, Music"
    assert [list(CLASSES)[number] for number in classes_in(caption)] == [
        "Speech", "Male speech, man speaking", "Music",
    ]  # fmt: skip
    assert classes_in("a dog barks") == []


@given(st.lists(st.sampled_from(list(CLASSES)), max_size=6))
def test_every_joined_list_of_names_is_read_back(labels):
    found = classes_in(", ".join(labels))
    # Two names in a row may spell a third, longer one; no name is lost without that.
    assert found == [CLASSES[label] for label in labels] or len(found) < len(labels)


def test_every_class_comes_once_before_any_comes_again():
    captions = ["Speech"] * 5 + ["Music, Speech"] + ["Rain", "Rain"]
    queue = ClassQueue(captions, seed=1)
    draws = [queue.draw(number) for number in range(30)]
    assert all(row in queue.rows(label) for label, row in draws)
    for turn in range(0, 30, 3):
        assert len({label for label, _ in draws[turn : turn + 3]}) == 3
    # Every clip of a class once before any comes again.
    rain = [row for label, row in draws if label == CLASSES["Rain"]]
    assert Counter(rain) == {6: 5, 7: 5} and all(
        {*rain[place : place + 2]} == {6, 7} for place in range(0, 10, 2)
    )
    assert draws == [ClassQueue(captions, seed=1).draw(number) for number in range(30)]
    assert draws != [ClassQueue(captions, seed=2).draw(number) for number in range(30)]


def test_lists_without_classes_are_refused():
    with pytest.raises(DataError, match="audiosep lists audioset"):
        ClassQueue(["a dog barks"], 0)

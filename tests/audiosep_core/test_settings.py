"""Settings are values: checked once, never changed, replaced whole."""

import copy
import dataclasses
import math
import pickle

import numpy as np
import pytest

from audiosep_core import Query, QueryError, Settings
from audiosep_core.errors import ModeError
from audiosep_core.settings import Delta, StreamFormat
from audiosep_core.signal.levels import Levels
from audiosep_core.signal.windows import Windows


def test_they_are_the_same_however_they_are_given():
    same = [
        Settings("  drums "),
        Settings(["drums"]),
        Settings(Query("drums")),
        Settings((Query("drums", gain_db=np.float32(0)),), strength=1),
        Settings.of("drums"),
        Settings.of(Settings("drums")),
    ]
    assert len(set(same)) == 1
    assert same[0].queries == (Query("drums"),)
    assert (same[0].strength, same[0].remainder_db) == (1.0, -math.inf)
    for other in (copy.deepcopy(same[0]), pickle.loads(pickle.dumps(same[0]))):
        assert other == same[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        same[0].strength = 2.0


def test_a_delta_changes_what_it_names():
    first = Settings(["drums", Query("wind", negative=True)], strength=2.0, remainder_db=-6.0)
    assert first.changed(Delta()) == first
    assert first.changed(Delta(strength=3)) == Settings(first.queries, 3.0, -6.0)
    assert first.changed(Delta("rain")) == Settings("rain", 2.0, -6.0)
    assert first.changed(Delta(remainder_db=-math.inf)).remainder_db == -math.inf
    assert Settings.of(first, strength=1.0) == first.changed(Delta(strength=1.0))
    assert [query.text for query in first.stems] == ["drums"]


@pytest.mark.parametrize("kind", [Settings, Delta])
@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"queries": []}, QueryError, "no query"),
        ({"queries": " "}, QueryError, "empty"),
        ({"queries": [3]}, QueryError, "string"),
        ({"queries": Query("wind", negative=True)}, QueryError, "negative"),
        ({"queries": "a", "strength": 0}, ValueError, "strength"),
        ({"queries": "a", "strength": "2"}, ValueError, "strength"),
        ({"queries": "a", "remainder_db": math.nan}, ValueError, "remainder_db"),
        ({"queries": "a", "remainder_db": 61}, ValueError, "remainder_db"),
    ],
)
def test_impossible_values(kind, arguments, error, message):
    with pytest.raises(error, match=message):
        kind(**arguments)


def test_impossible_queries():
    with pytest.raises(QueryError, match="empty"):
        Query("")
    with pytest.raises(ValueError, match="gain_db"):
        Query("drums", gain_db=99)


def test_the_form_of_a_stream():
    form = StreamFormat(48_000.0, 2, "track", "stems")
    assert form.sample_rate == 48_000
    two = Settings(["drums", "wind", Query("rain", negative=True)])
    assert form.rows(two) == 3
    assert dataclasses.replace(form, outputs="target").rows(two) == 1
    assert dataclasses.replace(form, outputs="target+residual").rows(two) == 2
    with pytest.raises(ValueError, match="2 stems, not 1"):
        form.check_change(two, Settings("drums"))
    StreamFormat(48_000, 2, Windows(8, 8, 8)).check_change(two, Settings("drums"))


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"sample_rate": 44_100.5}, ValueError, "sample_rate"),
        ({"sample_rate": 10}, ValueError, "sample_rate"),
        ({"channels": 0}, ValueError, "channels"),
        ({"channels": 1.5}, ValueError, "channels"),
        ({"mode": "fast"}, ModeError, "fast"),
        ({"outputs": "all"}, ValueError, "outputs"),
    ],
)
def test_impossible_forms(arguments, error, message):
    with pytest.raises(error, match=message):
        StreamFormat(**{"sample_rate": 48_000, "channels": 2, **arguments})


def test_levels_become_gains():
    queries = [Query("a", gain_db=-20), Query("b", negative=True), Query("c", solo=True)]
    rows = np.eye(3, 4, dtype=np.float32)
    selection = Settings(queries, remainder_db=-20).selection(rows)
    np.testing.assert_array_equal(selection.conditions, rows[[0, 2]])
    np.testing.assert_array_equal(selection.negative, rows[[1]])
    np.testing.assert_allclose(selection.gains, [0, 1])
    assert selection.remainder == pytest.approx(0.1)


def test_masks_sum_to_at_most_one_and_a_query_twice_is_one(rng):
    first, second = masks = rng.uniform(0, 1, (2, 3, 5, 8)).astype(np.float32)
    masks[:, 1], masks[:, 2] = 1, 0
    conditions = np.eye(3, 4, dtype=np.float32)
    conditions[1] = conditions[0]
    for plain, expected in (
        (True, first[0] + second[0]),
        (False, np.minimum(first[0] + second[0], 1)),
    ):
        selection = Settings(["a", "A!", "b"], plain_masks=plain).selection(conditions)
        made = selection.shaped(dict(zip(selection.asked, masks, strict=True)))
        stems, mixture = selection.weights(summed=False)
        target, _ = selection.weights(summed=True)
        assert not mixture.any()
        heard = [made[key][0][None] * row[:, None, None] for key, row in stems.items()]
        each = np.sum(heard, 0)
        np.testing.assert_array_equal(each[0], each[1])
        np.testing.assert_allclose(each.sum(0), expected, atol=1e-6)
        whole = sum(made[key][0] * row[0] for key, row in target.items())
        np.testing.assert_allclose(whole, expected, atol=1e-6)
        tops = sum(made[key][1] * row[0] for key, row in target.items())
        np.testing.assert_allclose(tops, expected[:, 4:].mean(-1), atol=1e-6)


def test_one_query_keeps_its_mask(rng):
    masks = rng.uniform(0, 1, (1, 3, 5, 8)).astype(np.float32)
    selection = Settings("a").selection(np.ones((1, 4), np.float32))
    ((factors, _),) = selection.shaped(dict(zip(selection.asked, masks, strict=True))).values()
    np.testing.assert_array_equal(factors.real, masks[0, 0] * masks[0, 1])


@pytest.mark.parametrize("gains", [[1.0, 0.5], [1.0, 0.0], [0.0, 0.0]])
@pytest.mark.parametrize("remainder_db", [-math.inf, -20.0, 0.0])
def test_stems_sum_to_the_target(rng, gains, remainder_db):
    levels = [20 * math.log10(gain) if gain else -math.inf for gain in gains]
    settings = Settings([Query("a", levels[0]), Query("b", levels[1])], 2.0, remainder_db)
    selection = settings.selection(np.eye(2, 4, dtype=np.float32))
    mixture, *sounds = rng.normal(size=(3, 1, 50)).astype(np.float32)
    made = dict(zip(selection.keys, sounds, strict=True))
    *stems, residual = Levels(selection, False, 48_000).mix(made, mixture)
    target, other = Levels(selection, True, 48_000).mix(made, mixture)
    np.testing.assert_allclose(sum(stems), target, atol=1e-6)
    np.testing.assert_allclose(residual, other, atol=1e-6)
    np.testing.assert_allclose(target + other, mixture, atol=1e-6)
    if gains[0] and math.isinf(remainder_db) and not gains[1]:
        np.testing.assert_array_equal(target, sounds[0])
    silent = [not gain and any(gains) for gain in gains]
    assert [not stem.any() for stem in stems] == [
        mute or (not any(gains) and math.isinf(remainder_db)) for mute in silent
    ]

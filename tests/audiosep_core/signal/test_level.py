import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.signal.level import RunningLevel


def frames(count, seed=0):
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal(size=(count, 40))).astype(np.float32)


@pytest.mark.parametrize("gain_db", [-80, -40, 20, 60])
def test_gain_changes_nothing(gain_db):
    magnitude = frames(300)
    plain = RunningLevel(3.0, 75).push(magnitude)
    louder = RunningLevel(3.0, 75).push(magnitude * np.float32(10 ** (gain_db / 20)))
    np.testing.assert_allclose(louder, plain, rtol=2e-6)


def test_is_the_weighted_mean_of_the_past():
    magnitude = frames(60, seed=3)
    made = RunningLevel(0.5, 75).push(magnitude)
    weights = np.exp(-np.arange(60) / (0.5 * 75))[::-1]
    power = (weights * np.square(magnitude, dtype=np.float64).mean(1)).sum() / weights.sum()
    np.testing.assert_allclose(made[-1], magnitude[-1] / np.sqrt(power), rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=10))
def test_same_bits_however_it_is_cut(cuts):
    magnitude = frames(200)
    level = RunningLevel(3.0, 150)
    edges = [0, *sorted(cuts), 200]
    parts = [level.push(magnitude[a:b]) for a, b in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), RunningLevel(3.0, 150).push(magnitude))


def test_silence_stays_silence():
    made = RunningLevel(3.0, 75).push(np.zeros((5, 40), np.float32))
    assert not made.any()

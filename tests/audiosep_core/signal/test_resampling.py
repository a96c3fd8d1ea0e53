"""What a resampler holds back is bounded beforehand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.signal.resampling import Resampler, held_back

RATES = [8000, 11025, 22050, 44100, 44101, 48000, 88200, 96000, 192000]


@settings(max_examples=30, deadline=None)
@given(
    rate=st.sampled_from(RATES),
    up=st.booleans(),
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=5),
)
def test_no_more_is_held_back_than_was_said(rate, up, sizes):
    source, target = (32_000, rate) if up else (rate, 32_000)
    most = held_back(source, target)
    resampler = Resampler(source, target, 1)
    fed = yielded = turn = 0
    while fed < 2 * source:
        size = sizes[turn % len(sizes)] + 50
        yielded += resampler.push(np.zeros((1, size), np.float32)).shape[-1]
        fed, turn = fed + size, turn + 1
        assert fed * target / source - yielded <= most
    yielded += resampler.finish().shape[-1]
    assert abs(yielded - fed * target / source) <= 1


@pytest.mark.parametrize("rate", RATES)
def test_the_bound_is_not_much_too_wide(rate):
    assert 0 < held_back(rate, 32_000) / 32_000 < 0.13
    assert 0 < held_back(32_000, rate) / rate < 0.13


def test_equal_rates_hold_nothing_back():
    assert held_back(48_000, 48_000) == 0


@pytest.mark.slow
@pytest.mark.parametrize("rate", [44_100, 44_101, 47_999, 192_000])
def test_the_bound_holds_for_an_hour(rate):
    for source, target in ((rate, 32_000), (32_000, rate)):
        most = held_back(source, target)
        resampler = Resampler(source, target, 1)
        step = source // 97
        fed = yielded = 0
        while fed < 3600 * source:
            yielded += resampler.push(np.zeros((1, step), np.float32)).shape[-1]
            fed += step
            assert fed * target / source - yielded <= most

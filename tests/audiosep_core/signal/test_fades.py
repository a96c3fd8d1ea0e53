"""A level gives way to another one along a line of 10 ms."""

import numpy as np
import pytest

from audiosep_core.signal.levels import Levels
from audiosep_core.signal.selection import Selection

CONDITIONS = np.eye(2, dtype=np.float32)


def selection(row, gain=1.0):
    return Selection(CONDITIONS[row : row + 1], np.array([gain], np.float32), CONDITIONS[:0])


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
@pytest.mark.parametrize("row, gain", [(0, 0.0), (0, 2.0), (1, 1.0)])
def test_a_change_is_a_line_of_10_ms(rate, row, gain):
    """Of the stem's own level, and from one stem, which is -1, to another one, which is 1."""
    before, after = selection(0), selection(row, gain)
    signals = {before.keys[0]: -np.ones((1, rate), np.float32)}
    signals |= {after.keys[0]: np.ones((1, rate), np.float32)} if row else {}
    levels = Levels(before, True, rate)
    levels.change(after, 1000)
    target, _ = levels.mix(signals, np.zeros((1, rate), np.float32))
    start, end = -1.0, gain if row else -gain
    share = np.clip((np.arange(rate) - 999) / (rate // 100), 0, 1)
    np.testing.assert_allclose(target[0], start + share * (end - start), atol=1e-5)

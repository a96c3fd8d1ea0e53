"""A Fifo is a list that is cut at the front."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosep_core.signal.fifo import Fifo


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=40))
def test_behaves_as_a_list(steps):
    fifo, expected, count = Fifo((2,), (3,)), [], 0
    for push, pop in steps:
        values = np.arange(count, count + push, dtype=np.float32)
        count += push
        expected.extend(values)
        fifo.push(np.broadcast_to(values[None, :, None], (2, push, 3)))
        pop = min(pop, len(expected))
        taken = fifo.pop(pop)
        assert taken.shape == (2, pop, 3)
        assert np.array_equal(taken[1, :, 2], expected[:pop])
        del expected[:pop]
        assert len(fifo) == len(expected)


def test_memory_does_not_grow_with_the_stream():
    fifo = Fifo((1,))
    for _ in range(10_000):
        fifo.push(np.zeros((1, 500), np.float32))
        fifo.drop(500)
    assert fifo._data.size <= 4096


def test_taking_more_than_there_is():
    with pytest.raises(ValueError, match="holds 0"):
        Fifo((1,)).pop(1)

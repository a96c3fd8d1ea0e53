import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.signal.causal_stft import CausalAnalysis, CausalSynthesis, window_pair


def through(signal, hop, overlap, synthesis, cuts=()):
    analysis, pair = window_pair(hop, overlap, synthesis)
    ahead = CausalAnalysis(analysis, hop, len(signal))
    back = CausalSynthesis(pair, hop, synthesis, (len(signal),))
    edges = [0, *sorted(cuts), signal.shape[1]]
    parts = [
        back.push(ahead.push(signal[:, start:end])) for start, end in itertools.pairwise(edges)
    ]
    return np.concatenate(parts, -1)


@pytest.mark.parametrize("hop", [147, 294, 320, 640, 1280])
@pytest.mark.parametrize(("overlap", "synthesis"), [(4, 4), (4, 2), (3, 2)])
def test_reconstructs_all_but_what_later_frames_change(hop, overlap, synthesis):
    signal = np.random.default_rng(0).normal(size=(2, 9 * hop + 11)).astype(np.float32)
    made = through(signal, hop, overlap, synthesis)
    # Frames end with the newest sample: two hops of synthesis wait for one more hop.
    assert made.shape[1] == 9 * hop - (synthesis - 1) * hop
    np.testing.assert_allclose(made, signal[:, : made.shape[1]], atol=2e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=8))
def test_same_bits_however_it_is_cut(cuts):
    signal = np.random.default_rng(1).normal(size=(1, 3000)).astype(np.float32)
    np.testing.assert_array_equal(through(signal, 100, 4, 2, cuts), through(signal, 100, 4, 2))


def test_impossible_windows_are_refused():
    with pytest.raises(ValueError, match="choose 2 or 4"):
        window_pair(100, 4, 3)

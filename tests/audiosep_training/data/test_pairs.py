"""Mixtures drawn from a corpus are reproducible and balanced."""

import numpy as np
import pytest

from audiosep_training.corpus.store import Corpus
from audiosep_training.data.pairs import PairSampler, held_out


def test_held_out_mixtures_are_reproducible_and_balanced(corpus):
    store = Corpus(corpus)
    first = list(held_out(store, 5, 8000, seed=3))
    again = list(held_out(store, 5, 8000, seed=3))
    for (one, query), (other, same) in zip(first, again, strict=True):
        assert np.array_equal(one.mixture, other.mixture) and query == same
        target, background = (source.audio for source in one.sources)
        assert np.mean(target**2) == pytest.approx(np.mean(background**2), rel=1e-3)
        assert one.sources[0].label != one.sources[1].label


def test_short_clips_are_placed_in_silence(corpus):
    sampler = PairSampler(Corpus(corpus), "train", 100_000)
    audio = sampler.source(np.random.default_rng(0)).audio
    assert audio.shape == (100_000,)
    assert 30_000 < np.count_nonzero(audio) <= 40_000

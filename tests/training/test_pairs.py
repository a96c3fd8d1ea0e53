"""Mixtures drawn from a corpus are reproducible and balanced."""

import numpy as np
import pytest

from plugin_bridge.bench_latency import read_items
from training.corpus.store import Corpus
from training.items import write_items
from training.pairs import PairSampler, held_out


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


def test_items_are_what_the_latency_bench_reads(corpus, tmp_path):
    write_items(Corpus(corpus), tmp_path, count=2, seconds=0.5, seed=1)
    items = read_items(tmp_path)
    expected = list(held_out(Corpus(corpus), 2, 16_000, seed=1))
    assert [item.query for item in items] == [query for _, query in expected]
    for item, (mixture, _) in zip(items, expected, strict=True):
        assert np.array_equal(item.mixture[0], mixture.mixture)
        assert np.array_equal(item.target[0], mixture.sources[0].audio)

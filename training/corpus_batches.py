"""Batches from a stored corpus: the recipe of ``mini``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from training.batches import Batch, Process
from training.config import ConfigError, DataConfig
from training.corpus.store import Corpus
from training.pairs import PairSampler, held_out
from training.queries import PhraseBook


class CorpusBatches:
    """Pairs of classes, every mixture asked for both of its sources, at any loudness.

    Args:
        corpus: The sounds.
        phrases: Their queries.
        data: Length and number of examples.
        seed: Of the run.
        process: Which one this is.

    Raises:
        ConfigError: The batch is odd.
    """

    def __init__(
        self, corpus: Corpus, phrases: PhraseBook, data: DataConfig, seed: int, process: Process
    ) -> None:
        if data.batch % 2:
            raise ConfigError(f"data.batch must be even for a corpus, not {data.batch}")
        self._sampler = PairSampler(corpus, "train", data.segment_samples)
        self._phrases = phrases
        self._mixtures = data.batch // 2
        self._seed = (seed, process.rank)

    def batches(self, first: int, reader: int, readers: int) -> Iterator[Batch]:
        """Batches ``first + reader``, ``first + reader + readers`` and so on."""
        number = first + reader
        while True:
            yield self._batch(np.random.default_rng([*self._seed, number]))
            number += readers

    def _batch(self, rng: np.random.Generator) -> Batch:
        mixtures, targets, conditions = [], [], []
        for _ in range(self._mixtures):
            pair = self._sampler.mixture(rng)
            scale = np.float32(10 ** rng.uniform(-1, 0.3))
            for source in pair.sources:
                mixtures.append(pair.mixture * scale)
                targets.append(source.audio * scale)
                conditions.append(self._phrases.draw(source.label, rng))
        return {
            "mixture": torch.from_numpy(np.stack(mixtures))[:, None],
            "target": torch.from_numpy(np.stack(targets))[:, None],
            "condition": torch.from_numpy(np.stack(conditions)),
            "bad": [],
        }


def corpus_validation(
    corpus: Corpus, phrases: PhraseBook, data: DataConfig, process: Process
) -> Iterator[Batch]:
    """The share of a process in the held-out mixtures, one a batch."""
    mixtures = held_out(corpus, data.validation_count, data.validation_samples)
    for number, (mixture, query) in enumerate(mixtures):
        if number % process.count == process.rank:
            yield {
                "mixture": torch.from_numpy(mixture.mixture)[None, None],
                "target": torch.from_numpy(mixture.sources[0].audio)[None, None],
                "condition": torch.from_numpy(phrases.embed(query))[None],
                "captions": [query],
            }

"""Batches for windowed networks from a stored corpus, and the validation of both forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiosep_training.config.schema import ConfigError, DataConfig
from audiosep_training.corpus.store import SAMPLE_RATE, Corpus
from audiosep_training.data.batches import Batch, Process
from audiosep_training.data.pairs import PairSampler, held_out
from audiosep_training.data.queries import PhraseBook


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
            "partner": torch.arange(len(mixtures)) ^ 1,
            "condition": torch.from_numpy(np.stack(conditions)),
            "bad": [],
        }


def corpus_validation(
    corpus: Corpus,
    embed: Callable[[str], NDArray[np.float32]],
    data: DataConfig,
    process: Process,
    rate: int,
) -> Iterator[Batch]:
    """The share of a process in the held-out mixtures, one a batch.

    They are of sources that are for validation, where the corpus has such; else of the test split.

    Args:
        corpus: The sounds.
        embed: From a query to its condition, (condition_size,).
        data: Number of mixtures, and their length at ``rate``.
        process: Which one this is.
        rate: That the network is trained at.
    """
    split = "validation" if len(corpus.classes("validation")) > 1 else "test"
    samples = round(data.validation_samples * SAMPLE_RATE / rate)
    for number, (mixture, query) in enumerate(
        held_out(corpus, data.validation_count, samples, split=split)
    ):
        if number % process.count == process.rank:
            yield {
                "mixture": _at(rate, mixture.mixture),
                "target": _at(rate, mixture.sources[0].audio),
                "condition": torch.from_numpy(embed(query))[None],
                "captions": [query],
            }


def _at(rate: int, audio: NDArray[np.float32]) -> Tensor:
    if rate != SAMPLE_RATE:
        audio = np.asarray(soxr.resample(audio, SAMPLE_RATE, rate), np.float32)
    return torch.from_numpy(audio)[None, None]

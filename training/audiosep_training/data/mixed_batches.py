"""Batches for streaming networks: a corpus in memory, mixed on the device that trains."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from audiosep_training.config.schema import ConfigError, DataConfig
from audiosep_training.corpus.store import SAMPLE_RATE as CORPUS_RATE
from audiosep_training.corpus.store import Clip, Corpus, quantise
from audiosep_training.data.batches import Batch, Process
from audiosep_training.mixer.mixer import Mixer
from audiosep_training.mixer.sounds import SAMPLE_RATE, Sound, SoundBank
from audiosep_training.mixer.vocabulary import Vocabulary


class MixedBatches:
    """What :class:`audiosep_training.mixer.mixer.Mixer` makes, as batches.

    Args:
        corpus: The sounds.
        vocabulary: Their queries.
        data: Length and number of examples.
        seed: Of the run.
        process: Which one this is.
        device: Where the sounds are kept and mixed.

    Raises:
        ConfigError: The batch is odd, or batches were to be made by other processes.
        ValueError: The corpus holds fewer than two classes.
    """

    def __init__(
        self,
        corpus: Corpus,
        vocabulary: Vocabulary,
        data: DataConfig,
        seed: int,
        process: Process,
        device: torch.device,
    ) -> None:
        if data.batch % 2:
            raise ConfigError(f"data.batch must be even for a corpus, not {data.batch}")
        if data.workers:
            raise ConfigError(
                "set data.workers = 0: sounds for a streaming network are mixed where it is trained"
            )
        bank = sound_bank(corpus, device)
        self._mixer = Mixer(bank, vocabulary, data.segment_samples, seed, process.rank)
        self._count = data.batch

    def batches(self, first: int, reader: int, readers: int) -> Iterator[Batch]:
        """Batches ``first + reader``, ``first + reader + readers`` and so on."""
        number = first + reader
        while True:
            mixed = self._mixer.batch(number, self._count)
            yield {
                "mixture": mixed.mixture[:, None],
                "target": mixed.target[:, None],
                "condition": mixed.queries.condition,
                "bandwidth": mixed.bandwidth,
                "bad": [],
            }
            number += readers


def sound_bank(corpus: Corpus, device: torch.device) -> SoundBank:
    """The clips of a corpus' training split, at the rate that is trained at."""
    clips = [clip for clip in corpus.clips if clip.split == "train"]
    with ThreadPoolExecutor() as pool:
        audio = list(pool.map(lambda clip: _resampled(corpus, clip), clips))
    return SoundBank.of(audio, [described(clip) for clip in clips], device)


def described(clip: Clip) -> Sound:
    """What a mixer knows of a clip."""
    return Sound(clip.label, clip.domain, clip.weight, clip.bandwidth, clip.together)


def at_training_rate(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """(samples,) at the corpus' rate to the rate that streaming networks are trained at."""
    return np.asarray(soxr.resample(audio, CORPUS_RATE, SAMPLE_RATE), np.float32)


def _resampled(corpus: Corpus, clip: Clip) -> NDArray[np.int16]:
    return quantise(at_training_rate(corpus.audio(clip)))

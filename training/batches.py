"""Batches of training examples, each a function of the seed, the process and its own number.

Nothing is drawn from a shared stream of chance and no state is kept: batch ``n`` is the same
however often a run was stopped, and whoever reads it. That is what makes resuming exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from audiosep_core.errors import AudioSepError
from training.config import MixingConfig
from training.mixing import add_sources, mix


class DataError(AudioSepError):
    """The sounds to train on cannot be used."""


class Batch(TypedDict, total=False):
    """What one step is made of.

    ``mixture`` and ``target`` are (batch, 1, samples) float32. ``condition`` (batch,
    condition_size) is there where the data bring it; else ``captions``, ``videos`` (paths, empty
    where an item has none) and ``by_sound`` say what to make it of. ``bad`` has a sentence for
    each clip that could not be used. ``failure``, alone, says why there are no more batches.
    """

    mixture: Tensor
    target: Tensor
    condition: Tensor
    captions: list[str]
    videos: list[str]
    by_sound: bool
    bad: list[str]
    failure: str


class BatchSource(Protocol):
    """Where batches come from."""

    def batches(self, first: int, reader: int, readers: int) -> Iterator[Batch]:
        """Batches ``first + reader``, ``first + reader + readers`` and so on, without end."""


class BatchStream(IterableDataset):
    """Batches from number ``first`` on, in order, whatever the number of workers."""

    def __init__(self, source: BatchSource, first: int) -> None:
        self._source = source
        self.first = first

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        place = (0, 1) if worker is None else (worker.id, worker.num_workers)
        try:
            yield from self._source.batches(self.first, *place)
        except AudioSepError as error:
            # Raised in a worker, it would reach the user with the worker's traceback in it.
            yield {"failure": str(error)}


@dataclasses.dataclass(frozen=True)
class Process:
    """Which of the processes that train together this is."""

    rank: int = 0
    count: int = 1


@dataclasses.dataclass(frozen=True)
class CutClip:
    """A clip ready to be mixed: ``audio`` (samples,) float32."""

    audio: NDArray[np.float32]
    caption: str
    video: Path | None = None


def mix_clips(
    clips: Sequence[CutClip],
    rngs: Sequence[np.random.Generator],
    mixing: MixingConfig,
    text_ratio: float,
    bad: list[str],
) -> Batch:
    """Make every clip the target of a mixture with those that follow it in the batch.

    As in the released code the background of clip ``n`` is clips ``n + 1``, ``n + 2``, ... of the
    batch, as many as are drawn up to ``max_mix_num`` sources in all, and a whole batch is asked
    for either in words or by the targets' own sounds.

    Args:
        clips: At least ``mixing.max_mix_num``.
        rngs: One for each clip, seeded by its number among all examples of the run.
        mixing: Number of sources and range of gains.
        text_ratio: Probability of asking in words.
        bad: Passed on.
    """
    mixtures, targets = [], []
    low, high = mixing.lower_db, mixing.higher_db + 1
    for place, (clip, rng) in enumerate(zip(clips, rngs, strict=True)):
        others = int(rng.integers(1, mixing.max_mix_num))
        sources = [clips[(place + step) % len(clips)].audio for step in range(1, others + 1)]
        background = add_sources(sources, clip.audio, rng.integers(low, high, others).tolist())
        mixture, target, _ = mix(clip.audio, background, float(rng.integers(low, high)))
        mixtures.append(mixture)
        targets.append(target)
    return {
        "mixture": torch.from_numpy(np.stack(mixtures))[:, None],
        "target": torch.from_numpy(np.stack(targets))[:, None],
        "captions": [clip.caption for clip in clips],
        "videos": [str(clip.video or "") for clip in clips],
        "by_sound": bool(rngs[0].random() >= text_ratio),
        "bad": bad,
    }

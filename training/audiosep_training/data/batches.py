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
from audiosep_training.config.schema import MixingConfig, QueryConfig
from audiosep_training.data.mixing import add_sources, mix, mix_factors, mix_peaks


class DataError(AudioSepError):
    """The sounds to train on cannot be used."""


class Batch(TypedDict, total=False):
    """What one step is made of.

    ``mixture`` and ``target`` are (batch, 1, samples) float32. ``partner`` (batch,) int64 is
    there where every mixture is of two targets of the batch: the row of the other one.
    ``condition`` (batch, condition_size) is there where the data bring it, and with it, for
    streaming networks, ``bandwidth`` (batch,) in Hz, up to where an example counts; else
    ``captions``, ``videos`` (a path, or frames (frames, size, size, 3) uint8; "" where the caption
    asks) and ``by_sound`` say what to make it of. ``classes`` (batch,) int64 is there where the
    data are balanced: AudioSet's class that each clip was drawn for. ``bad`` has a sentence for
    each clip that could not be used. ``failure``, alone, says why there are no more batches.
    """

    mixture: Tensor
    target: Tensor
    partner: Tensor
    condition: Tensor
    bandwidth: Tensor
    classes: Tensor
    captions: list[str]
    videos: list[str | Tensor]
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
        reader = (0, 1) if worker is None else (worker.id, worker.num_workers)
        try:
            yield from self._source.batches(self.first, *reader)
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
    """A clip ready to be mixed.

    Attributes:
        audio: (samples,) float32.
        caption: Says what is heard in it.
        video: Shows it: a path, or its frames (frames, size, size, 3).
        background: (samples,) what it was recorded in, where it has a background of its own.
    """

    audio: NDArray[np.float32]
    caption: str
    video: Path | NDArray[np.uint8] | None = None
    background: NDArray[np.float32] | None = None


def mix_clips(
    clips: Sequence[CutClip],
    rngs: Sequence[np.random.Generator],
    mixing: MixingConfig,
    query: QueryConfig,
    bad: list[str],
) -> Batch:
    """Make every clip the target of a mixture with those that follow it in the batch.

    As in the released code the background of clip ``n`` is clips ``n + 1``, ``n + 2``, ... of the
    batch, as many as are drawn up to ``max_mix_num`` sources in all, and a whole batch is asked
    for either in words (or by video) or by the targets' own sounds. A clip with a background of
    its own is mixed with that.

    Args:
        clips: At least ``mixing.max_mix_num``.
        rngs: One for each clip, seeded by its number among all examples of the run.
        mixing: Number of sources and range of gains.
        query: How often is asked by sound, and by video.
        bad: Passed on.
    """
    mixtures, targets = [], []
    for position, (clip, rng) in enumerate(zip(clips, rngs, strict=True)):
        others = int(rng.integers(1, mixing.max_mix_num))
        sources = [clips[(position + step) % len(clips)].audio for step in range(1, others + 1)]
        if clip.background is not None:
            sources = [clip.background]
        mixture, target = _mixed(clip.audio, sources, rng, mixing)
        mixtures.append(mixture)
        targets.append(target)
    batch: Batch = {
        "mixture": torch.from_numpy(np.stack(mixtures))[:, None],
        "target": torch.from_numpy(np.stack(targets))[:, None],
        "captions": [clip.caption for clip in clips],
        "by_sound": bool(rngs[0].random() >= query.text_ratio),
        "videos": [
            _shown(clip) if rng.random() < query.video_ratio else ""
            for clip, rng in zip(clips, rngs, strict=True)
        ],
        "bad": bad,
    }
    if mixing.max_mix_num == 2 and all(clip.background is None for clip in clips):
        batch["partner"] = torch.arange(1, len(clips) + 1) % len(clips)
    return batch


def _shown(clip: CutClip) -> str | Tensor:
    video = clip.video
    return torch.from_numpy(video) if isinstance(video, np.ndarray) else str(video or "")


def _mixed(
    audio: NDArray[np.float32],
    sources: Sequence[NDArray[np.float32]],
    rng: np.random.Generator,
    mixing: MixingConfig,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mixture of a clip with others, and the clip in it."""
    low, high = mixing.lower_db, mixing.higher_db + 1
    if mixing.rule == "energy":
        background = add_sources(sources, audio, rng.integers(low, high, len(sources)).tolist())
        mixture, target, _ = mix(audio, background, float(rng.integers(low, high)))
    elif mixing.rule == "peak":
        background = np.sum(sources, axis=0)
        mixture, target, _ = mix_peaks(audio, background, float(rng.integers(low, high)))
    else:
        least, largest = mixing.factors
        factors = rng.uniform(least, largest, 1 + len(sources))
        background = np.sum([f * s for f, s in zip(factors[1:], sources, strict=True)], axis=0)
        mixture, target, _ = mix_factors(audio, background, (factors[0], 1.0))
    return mixture.astype(np.float32), target.astype(np.float32)

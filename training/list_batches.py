"""Batches from JSON lists: every clip once an epoch, shuffled, shared out among processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from audiosep_core.audio_files import AudioReader
from audiosep_core.errors import AudioFileError
from training.batches import Batch, CutClip, DataError, Process, mix_clips
from training.clips import ClipFormat, cut_clip
from training.config import TrainingConfig
from training.lists import Item
from training.mixing import mix

_MOST_TRIES = 100
# What a number is drawn for; part of its seed.
_ORDER, _EXAMPLE, _GAINS, _VALIDATION = 0, 1, 2, 3


class ListBatches:
    """Batches of the clips of lists.

    Every epoch is a new order of all clips, cut into as many whole steps of all processes as
    there are; the few clips that are left over differ from epoch to epoch. A clip that cannot
    be used is replaced by one drawn from all, and reported once by each reader that meets it.

    Args:
        items: All clips.
        config: Seed, batch, mixing and queries.
        process: Which one this is.

    Raises:
        DataError: There are fewer clips than one step of all processes needs.
    """

    def __init__(self, items: Sequence[Item], config: TrainingConfig, process: Process) -> None:
        self._items = items
        self._config = config
        self._process = process
        self._format = clip_format(config)
        self._bad: set[int] = set()
        step = config.data.batch * process.count
        if len(items) < step:
            raise DataError(
                f"the lists hold {len(items)} clips, one step needs {step} (data.batch times "
                "devices); add clips, or lower data.batch"
            )
        self._usable = len(items) // step * step

    def batches(self, first: int, reader: int, readers: int) -> Iterator[Batch]:
        """Batches ``first + reader``, ``first + reader + readers`` and so on."""
        number = first + reader
        epoch, order = -1, np.empty(0, np.int64)
        while True:
            size = self._config.data.batch
            start = (number * self._process.count + self._process.rank) * size
            if start // self._usable != epoch:
                epoch = start // self._usable
                order = self._rng(_ORDER, epoch).permutation(len(self._items))
            place = start % self._usable
            yield self._batch(start, order[place : place + size].tolist())
            number += readers

    def _batch(self, start: int, rows: list[int]) -> Batch:
        bad: list[str] = []
        clips = [self._clip(row, start + place, bad) for place, row in enumerate(rows)]
        config = self._config
        rngs = [self._rng(_GAINS, start + place) for place in range(len(rows))]
        return mix_clips(clips, rngs, config.mixing, config.query.text_ratio, bad)

    def _clip(self, row: int, number: int, bad: list[str]) -> CutClip:
        """The clip for example ``number`` of the run; others in its place are drawn by it too."""
        for attempt in range(_MOST_TRIES):
            rng = self._rng(_EXAMPLE, number, attempt)
            if attempt:
                row = int(rng.integers(len(self._items)))
            item = self._items[row]
            if row in self._bad:
                continue
            try:
                with AudioReader(item.wav) as reader:
                    return CutClip(cut_clip(reader, self._format, rng), item.caption, item.video)
            except AudioFileError as error:
                self._bad.add(row)
                bad.append(str(error))
        raise DataError(
            f"{_MOST_TRIES} clips drawn one after another cannot be used, {item.wav} the last of "
            "them; repair the lists"
        )

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, *purpose])


def list_validation(
    items: Sequence[Item], config: TrainingConfig, process: Process
) -> Iterator[Batch]:
    """The share of a process in fixed mixtures at 0 dB of each clip with the next, one a batch.

    Clips that cannot be used are left out.
    """
    count = min(config.data.validation_count, len(items))
    format = clip_format(config, config.data.validation_samples)
    for number in range(process.rank, count, process.count):
        rng = np.random.default_rng([config.seed, _VALIDATION, number])
        pair = (items[number], items[(number + 1) % len(items)])
        try:
            cut = []
            for item in pair:
                with AudioReader(item.wav) as reader:
                    cut.append(cut_clip(reader, format, rng))
        except AudioFileError:
            continue
        mixture, target, _ = mix(cut[0], cut[1], 0.0)
        yield {
            "mixture": torch.from_numpy(mixture)[None, None],
            "target": torch.from_numpy(target)[None, None],
            "captions": [pair[0].caption],
            "videos": [str(pair[0].video or "")],
            "by_sound": False,
        }


def clip_format(config: TrainingConfig, samples: int = 0) -> ClipFormat:
    """What clips are brought to: ``samples`` long, or as training examples are."""
    data = config.data
    rate = config.network.sample_rate
    return ClipFormat(rate, samples or data.segment_samples, data.shortest_samples)

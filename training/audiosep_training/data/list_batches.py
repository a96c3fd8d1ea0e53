"""Batches from JSON lists: every clip once an epoch, shuffled, shared out among processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from audiosep_core.errors import AudioFileError
from audiosep_core.files.audio_reader import AudioReader
from audiosep_training.config.schema import TrainingConfig
from audiosep_training.data.batches import Batch, CutClip, DataError, Process, mix_clips
from audiosep_training.data.classes import ClassQueue
from audiosep_training.data.clips import ClipFormat, cut_clip
from audiosep_training.data.lists import ListedClip
from audiosep_training.data.mixing import mix

_MOST_TRIES = 100
# What a number is drawn for; part of its seed.
_ORDER, _EXAMPLE, _GAINS, _VALIDATION = 0, 1, 2, 3


class ListBatches:
    """Batches of the clips of lists.

    Every epoch is a new order of all clips, cut into as many whole steps of all processes as
    there are; the few clips that are left over differ from epoch to epoch. With ``data.balance``
    clips are drawn by class instead. A clip that cannot be used is replaced by one drawn from
    all (of its class), and reported once by each reader that meets it.

    Args:
        items: All clips.
        config: Seed, batch, mixing and queries.
        process: Which one this is.

    Raises:
        DataError: There are fewer clips than one step of all processes needs, or none of a class.
    """

    def __init__(
        self, items: Sequence[ListedClip], config: TrainingConfig, process: Process
    ) -> None:
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
        self._queue: ClassQueue | None = None
        if config.data.balance:
            self._queue = ClassQueue([item.caption for item in items], config.seed)

    def batches(self, first: int, reader: int, readers: int) -> Iterator[Batch]:
        """Batches ``first + reader``, ``first + reader + readers`` and so on."""
        number = first + reader
        epoch, order = -1, np.empty(0, np.int64)
        size = self._config.data.batch
        while True:
            start = (number * self._process.count + self._process.rank) * size
            if self._queue is not None:
                drawn = [self._queue.draw(start + position) for position in range(size)]
                labels, rows = (list(part) for part in zip(*drawn, strict=True))
                yield {**self._batch(start, rows, labels), "classes": torch.tensor(labels)}
            else:
                if start // self._usable != epoch:
                    epoch = start // self._usable
                    order = self._rng(_ORDER, epoch).permutation(len(self._items))
                position = start % self._usable
                yield self._batch(start, order[position : position + size].tolist(), [None] * size)
            number += readers

    def _batch(self, start: int, rows: list[int], labels: Sequence[int | None]) -> Batch:
        bad: list[str] = []
        clips = [
            self._clip(row, start + position, label, bad)
            for position, (row, label) in enumerate(zip(rows, labels, strict=True))
        ]
        config = self._config
        rngs = [self._rng(_GAINS, start + position) for position in range(len(rows))]
        return mix_clips(clips, rngs, config.mixing, config.query, bad)

    def _clip(self, row: int, number: int, label: int | None, bad: list[str]) -> CutClip:
        """The clip for example ``number`` of the run; others in its place are drawn by it too."""
        others: Sequence[int] = range(len(self._items))
        if self._queue is not None and label is not None:
            others = self._queue.rows(label)
        for attempt in range(_MOST_TRIES):
            rng = self._rng(_EXAMPLE, number, attempt)
            if attempt:
                row = others[int(rng.integers(len(others)))]
            item = self._items[row]
            if row in self._bad:
                continue
            try:
                return read_clip(item, self._format, rng)
            except AudioFileError as error:
                self._bad.add(row)
                bad.append(str(error))
        raise DataError(
            f"{_MOST_TRIES} clips drawn one after another cannot be used, {item.wav} the last of "
            "them; repair the lists"
        )

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, *purpose])


def read_clip(item: ListedClip, format: ClipFormat, rng: np.random.Generator) -> CutClip:
    """A random piece of a clip, and the same piece of the recording in which it is heard.

    Raises:
        AudioFileError: One of the files cannot be used, or they are not of one length.
    """
    state = rng.bit_generator.state
    with AudioReader(item.wav) as reader:
        audio, length = cut_clip(reader, format, rng), (reader.frames, reader.sample_rate)
    if item.mixture is None:
        return CutClip(audio, item.caption, item.video)
    rng.bit_generator.state = state
    with AudioReader(item.mixture) as reader:
        if (reader.frames, reader.sample_rate) != length:
            raise AudioFileError(
                f"{item.mixture} is not as long as {item.wav}, or of another rate; leave it out"
            )
        background = cut_clip(reader, format, rng) - audio
    return CutClip(audio, item.caption, item.video, background)


def list_validation(
    items: Sequence[ListedClip], config: TrainingConfig, process: Process
) -> Iterator[Batch]:
    """The share of a process in fixed mixtures at 0 dB of each clip with the next, one a batch.

    Clips with a background of their own are heard in that, as it is. Clips that cannot be used
    are left out.
    """
    count = min(config.data.validation_count, len(items))
    format = clip_format(config, config.data.validation_samples)
    for number in range(process.rank, count, process.count):
        rng = np.random.default_rng([config.seed, _VALIDATION, number])
        pair = (items[number], items[(number + 1) % len(items)])
        try:
            clip = read_clip(pair[0], format, rng)
            background = clip.background
            if background is None:
                background = read_clip(pair[1], format, rng).audio
        except AudioFileError:
            continue
        mixture, target = clip.audio + background, clip.audio
        if clip.background is None:
            mixture, target, _ = mix(target, background, 0.0)
        yield {
            "mixture": torch.from_numpy(mixture)[None, None],
            "target": torch.from_numpy(target)[None, None],
            "captions": [pair[0].caption],
            # In words, as evaluation asks, however training does.
            "videos": [""],
            "by_sound": False,
        }


def clip_format(config: TrainingConfig, samples: int = 0) -> ClipFormat:
    """What clips are brought to: ``samples`` long, or as training examples are."""
    data = config.data
    return ClipFormat(config.sample_rate, samples or data.segment_samples, data.shortest_samples)

"""Batches streamed from shards: every process and worker reads shards of its own."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import AudioFileError
from audiosep_core.files.audio_reader import AudioReader
from audiosep_core.files.kinds import AUDIO_ENDINGS
from audiosep_training.config.schema import TrainingConfig
from audiosep_training.data.batches import Batch, CutClip, DataError, Process, mix_clips
from audiosep_training.data.clips import cut_clip
from audiosep_training.data.list_batches import clip_format
from audiosep_training.data.shards import FRAMES, Shard

_ORDER, _SHUFFLE, _EXAMPLE, _GAINS = 4, 5, 6, 7


class ShardBatches:
    """Batches of the clips of shards.

    Every epoch the shards are put into a new order and shared out among all readers (workers of
    all processes); a reader shuffles ``data.shuffle`` clips at a time, or as many as fill
    ``data.shuffle_megabytes``. Readers whose shards hold
    fewer clips begin their next epoch earlier; within an epoch no clip is read twice.

    To resume, a reader passes over whole shards by the index and reads on within one. Batches
    are the same as long as processes and workers are as many.

    Args:
        shards: All shards.
        config: Seed, batch, mixing and queries.
        process: Which one this is.

    Raises:
        DataError: There are fewer shards than readers.
    """

    def __init__(self, shards: Sequence[Shard], config: TrainingConfig, process: Process) -> None:
        readers = process.count * max(1, config.data.workers)
        if len(shards) < readers:
            raise DataError(
                f"{len(shards)} shards cannot feed {readers} readers (devices times data.workers); "
                "write smaller shards, or lower data.workers"
            )
        self._shards = list(shards)
        self._config = config
        self._process = process
        self._format = clip_format(config)

    def batches(self, first: int, reader: int, readers: int) -> Iterator[Batch]:
        """Batches ``first + reader``, ``first + reader + readers`` and so on."""
        number, position = divmod(first + reader, readers)
        position += self._process.rank * readers
        size = self._config.data.batch
        samples = self._samples(position, self._process.count * readers, number * size)
        while True:
            yield self._batch(list(itertools.islice(samples, size)), position, number)
            number += 1

    def _batch(self, samples: list[dict[str, Any]], reader: int, number: int) -> Batch:
        first = number * len(samples)
        bad: list[str] = []
        found = [
            self._clip(sample, self._rng(_EXAMPLE, reader, first + row), bad)
            for row, sample in enumerate(samples)
        ]
        clips = [clip for clip in found if clip is not None]
        if len(clips) < self._config.mixing.max_mix_num:
            raise DataError(
                f"{len(bad)} clips of a batch of {len(samples)} cannot be used ({bad[-1]}); "
                "write the shards again"
            )
        rngs = [self._rng(_GAINS, reader, first + row) for row in range(len(clips))]
        return mix_clips(clips, rngs, self._config.mixing, self._config.query, bad)

    def _clip(
        self, sample: dict[str, Any], rng: np.random.Generator, bad: list[str]
    ) -> CutClip | None:
        """The clip of a sample; None, with the reason in ``bad``, if it cannot be used."""
        name = f"{sample['__url__']}:{sample['__key__']}"
        ending = next((key for key in sample if f".{key}" in AUDIO_ENDINGS), None)
        try:
            if ending is None:
                raise AudioFileError(f"{name} holds no sound")
            caption = _caption(sample, name)
            with AudioReader(Path(f"{name}.{ending}"), sample[ending]) as reader:
                return CutClip(cut_clip(reader, self._format, rng), caption, _frames(sample, name))
        except AudioFileError as error:
            bad.append(str(error))
            return None

    def _samples(self, reader: int, readers: int, skip: int) -> Iterator[dict[str, Any]]:
        """Undecoded samples of one reader, from number ``skip`` on, epoch after epoch."""
        for epoch in itertools.count():
            read = 0
            order = self._rng(_ORDER, epoch).permutation(len(self._shards))
            for number in order[reader::readers].tolist():
                shard = self._shards[number]
                if 0 <= shard.samples <= skip:
                    skip -= shard.samples
                    read += shard.samples
                    continue
                for sample in self._shuffled(shard, epoch, number):
                    read += 1
                    if skip:
                        skip -= 1
                    else:
                        yield sample
            if not read:
                raise DataError(
                    f"none of the shards of reader {reader} holds a sample; write the shards again"
                )

    def _shuffled(self, shard: Shard, epoch: int, number: int) -> Iterator[dict[str, Any]]:
        samples = _read(shard.url)
        for window in itertools.count():
            some = self._window(samples)
            if not some:
                return
            for row in self._rng(_SHUFFLE, epoch, number, window).permutation(len(some)):
                yield some[row]

    def _window(self, samples: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
        """The next samples that are shuffled together, bounded in number and in bytes."""
        data = self._config.data
        some: list[dict[str, Any]] = []
        room = data.shuffle_megabytes * 1_000_000
        while len(some) < data.shuffle and room > 0:
            sample = next(samples, None)
            if sample is None:
                break
            some.append(sample)
            room -= sum(len(value) for value in sample.values() if isinstance(value, bytes))
        return some

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, *purpose])


def _read(url: str) -> Iterator[dict[str, Any]]:
    """The samples of a shard: ending to bytes.

    Raises:
        DataError: The shard cannot be read.
    """
    from webdataset.tariterators import tarfile_samples

    try:
        yield from tarfile_samples([{"url": url}])
    except Exception as error:  # of tarfile, of the network, of the opener of the address
        raise DataError(
            f"the shard {url} cannot be read ({error}); write or copy it again"
        ) from None


def _frames(sample: dict[str, Any], name: str) -> NDArray[np.uint8] | None:
    """The pictures of a sample's video, where it has one."""
    content = sample.get(FRAMES.removeprefix("."))
    if content is None:
        return None
    try:
        frames = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise AudioFileError(f"{name} holds no frames that can be read ({error})") from None
    if frames.ndim != 4 or frames.dtype != np.uint8:
        raise AudioFileError(f"{name} holds frames of shape {frames.shape}, {frames.dtype}")
    return frames


def _caption(sample: dict[str, Any], name: str) -> str:
    try:
        if "txt" in sample:
            return str(sample["txt"], "utf-8")
        return str(json.loads(sample["json"])["caption"])
    except (KeyError, ValueError, TypeError):
        raise AudioFileError(f"{name} holds no caption") from None

"""Batches streamed from shards: every process and worker reads shards of its own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiosep_core.audio_files import AUDIO_ENDINGS, AudioReader
from audiosep_core.errors import AudioFileError
from training.batches import Batch, CutClip, DataError, Process, mix_clips
from training.clips import cut_clip
from training.config import TrainingConfig
from training.list_batches import clip_format
from training.shards import Shard

_ORDER, _SHUFFLE, _EXAMPLE, _GAINS = 4, 5, 6, 7


class ShardBatches:
    """Batches of the clips of shards.

    Every epoch the shards are put into a new order and shared out among all readers (workers of
    all processes); a reader shuffles ``data.shuffle`` clips at a time. Readers whose shards hold
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
        number, place = divmod(first + reader, readers)
        place += self._process.rank * readers
        size = self._config.data.batch
        samples = self._samples(place, self._process.count * readers, number * size)
        while True:
            yield self._batch(list(itertools.islice(samples, size)), place, number)
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
        return mix_clips(clips, rngs, self._config.mixing, self._config.query.text_ratio, bad)

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
                return CutClip(cut_clip(reader, self._format, rng), caption)
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
            some = list(itertools.islice(samples, self._config.data.shuffle))
            if not some:
                return
            for row in self._rng(_SHUFFLE, epoch, number, window).permutation(len(some)):
                yield some[row]

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


def _caption(sample: dict[str, Any], name: str) -> str:
    try:
        if "txt" in sample:
            return str(sample["txt"], "utf-8")
        return str(json.loads(sample["json"])["caption"])
    except (KeyError, ValueError, TypeError):
        raise AudioFileError(f"{name} holds no caption") from None

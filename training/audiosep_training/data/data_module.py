"""Which sounds a training reads, as Lightning asks for them."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from audiosep_core.atomic import replacing
from audiosep_core.query.encoder import bundled_text_encoder
from audiosep_training.config.schema import ConfigError, TrainingConfig
from audiosep_training.corpus.store import Corpus
from audiosep_training.data.batches import Batch, BatchSource, BatchStream, DataError, Process
from audiosep_training.data.clips import unusable_clips
from audiosep_training.data.corpus_batches import CorpusBatches, corpus_validation
from audiosep_training.data.list_batches import ListBatches, clip_format, list_validation
from audiosep_training.data.lists import ListedClip, read_clip_list
from audiosep_training.data.mixed_batches import MixedBatches
from audiosep_training.data.queries import PhraseBook
from audiosep_training.data.shard_batches import ShardBatches
from audiosep_training.data.shards import find_shards
from audiosep_training.data.vocabulary import make_vocabulary
from audiosep_training.messages import print_line
from audiosep_training.mixer.sounds import SAMPLE_RATE

#: File in the run's folder that names the clips that could not be used.
BAD_CLIPS = "bad_clips.txt"
_NAMED = 5
_OUTLASTING_SECONDS = 30


class TrainingData(LightningDataModule):
    """A corpus, lists or shards.

    Args:
        config: The training.
        run: Folder of the run, for the list of bad clips.

    Raises:
        ConfigError: Not exactly one of corpus, lists and shards is given, or the mixing asks for
            more sources than a batch has.
        AudioPathError, MetadataError, ShardError: One of them cannot be read.
    """

    def __init__(self, config: TrainingConfig, run: Path) -> None:
        super().__init__()
        data = config.data
        self._config = config
        self._run = run
        if sum(map(bool, (data.corpus, data.lists, data.shards))) != 1:
            raise ConfigError(
                "say what to train on, one of --corpus DIR, --list FILE and --shards PLACE"
            )
        if data.balance and not data.lists:
            raise ConfigError("data.balance draws clips by the classes in lists; give --list FILE")
        if config.mixing.max_mix_num > data.batch:
            raise ConfigError(
                f"mixing.max_mix_num = {config.mixing.max_mix_num} needs a data.batch as large, "
                f"not {data.batch}"
            )
        if config.streaming and not data.corpus:
            raise ConfigError(
                f"{config.name} is a streaming network, which is trained on a corpus: --corpus DIR"
            )
        self._corpus = open_corpus(data.corpus) if data.corpus else None
        self._embed = cache(lambda query: bundled_text_encoder().encode([query])[0])
        self._items = _read_lists(data.lists)
        self._validation = _read_lists(data.validation)
        self._shards = find_shards(data.shards)

    @property
    def condition_size(self) -> int:
        """Length of the conditions that come with the batches; 0 if none do."""
        return 0 if self._corpus is None else len(self._embed("a sound"))

    @property
    def clips(self) -> int:
        """Number of clips, 0 if unknown."""
        if self._shards:
            known = all(shard.samples >= 0 for shard in self._shards)
            return sum(shard.samples for shard in self._shards) if known else 0
        return len(self._items)

    def prepare_data(self) -> None:
        """Read the headers of all files once, before anything is trained.

        Raises:
            DataError: Too many cannot be used; the message names some, a file in the run's
                folder all.
        """
        if not self._items or not self._config.data.check:
            return
        print_line(f"reading the headers of {len(self._items)} clips")
        files = [item.wav for item in self._items]
        files += [item.mixture for item in self._items if item.mixture is not None]
        bad = unusable_clips(files, clip_format(self._config))
        if not bad:
            return
        names = self._run / BAD_CLIPS
        with replacing(names) as partial:
            partial.write_text("\n".join(bad) + "\n", encoding="utf-8")
        share = len(bad) / len(self._items)
        if share > self._config.data.max_bad_share:
            raise DataError(
                f"{len(bad)} of {len(self._items)} clips cannot be used, more than "
                f"data.max_bad_share allows ({self._config.data.max_bad_share:.1%}): "
                f"{'; '.join(bad[:_NAMED])}; all are listed in {names}"
            )
        print_line(f"{len(bad)} clips cannot be used and will be passed over: see {names}")

    def train_dataloader(self) -> DataLoader:
        """Batches from the step on that the run is at."""
        assert self.trainer is not None
        stream = BatchStream(self._source(), self.trainer.global_step)
        workers = self._config.data.workers
        return DataLoader(
            stream,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_outlast_signals,
            # What is mixed on the device is there already.
            pin_memory=self._device.type == "cuda" and not self._config.streaming,
        )

    def val_dataloader(self) -> list[DataLoader]:
        """Fixed mixtures, one a batch; none where there is nothing to validate on."""
        if self._corpus is None and not self._validation:
            return []
        return [DataLoader(_Validation(self), batch_size=None)]

    def validation(self) -> Iterator[Batch]:
        """The share of this process in the validation mixtures."""
        if self._corpus is not None:
            data, rate = self._config.data, sample_rate(self._config)
            return corpus_validation(self._corpus, self._embed, data, self._process, rate)
        return list_validation(self._validation, self._config, self._process)

    @property
    def _process(self) -> Process:
        assert self.trainer is not None
        return Process(self.trainer.global_rank, self.trainer.world_size)

    @property
    def _device(self) -> torch.device:
        assert self.trainer is not None
        return self.trainer.strategy.root_device

    def _source(self) -> BatchSource:
        config = self._config
        if self._corpus is not None:
            return corpus_source(self._corpus, config, self._process, self._device)
        if self._shards:
            return ShardBatches(self._shards, config, self._process)
        return ListBatches(self._items, config, self._process)


def _outlast_signals(_: int) -> None:
    """Keep a worker at work while the step that a signal interrupted is brought to its end.

    Terminals and schedulers signal the whole group of processes, and a training whose worker is
    gone cannot stop in order.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_OUTLASTING_SECONDS))


class _Validation(IterableDataset):
    def __init__(self, data: TrainingData) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Batch]:
        return self._data.validation()


def sample_rate(config: TrainingConfig) -> int:
    """The rate in Hz that a training hears sounds at."""
    return SAMPLE_RATE if config.streaming else config.sample_rate


def corpus_source(
    corpus: Corpus, config: TrainingConfig, process: Process, device: torch.device
) -> BatchSource:
    """Batches of a corpus, as a configuration asks for them.

    Raises:
        ConfigError: The batch does not fit.
        DataError: The corpus holds too little.
    """
    if not config.streaming:
        return CorpusBatches(corpus, PhraseBook(corpus), config.data, config.seed, process)
    vocabulary = make_vocabulary(corpus)
    try:
        return MixedBatches(corpus, vocabulary, config.data, config.seed, process, device)
    except ConfigError:
        raise
    except ValueError as error:
        raise DataError(f"{config.data.corpus}: {error}") from None


def open_corpus(folder: str) -> Corpus:
    """A stored corpus.

    Raises:
        DataError: There is none, or it is damaged.
    """
    try:
        return Corpus(folder)
    except (FileNotFoundError, ValueError) as error:
        raise DataError(str(error)) from None


def _read_lists(paths: tuple[str, ...]) -> list[ListedClip]:
    lists = [(path, read_clip_list(Path(path))) for path in paths]
    for path, found in lists:
        for note, count in found.notes.items():
            print_line(f"{path}: {count} items: {note}")
    return list(itertools.chain.from_iterable(found.items for _, found in lists))

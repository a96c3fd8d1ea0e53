"""Runs separators over items: in this process or in several, in bounded memory."""

from __future__ import annotations

import collections
import dataclasses
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from audiosep_core.errors import AudioSepError, SeparatorError
from audiosep_core.files.items import Item, MixtureAndTarget
from audiosep_core.runtime.device import Device
from audiosep_training.evaluation.measures.scores import measure
from audiosep_training.evaluation.running.ideal import Ideal
from audiosep_training.evaluation.running.records import Record, ScoreFile
from audiosep_training.evaluation.running.separators import Separate, SeparatorSpec
from audiosep_training.workers import end_with_parent


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What is run.

    Attributes:
        specs: The separators, each with a name of its own.
        metrics: What is measured.
        device: Where our models run.
        jobs: Number of processes.
        towers: Model whose towers measure "clapscore".
    """

    specs: Sequence[SeparatorSpec]
    metrics: Sequence[str]
    device: Device = "auto"
    jobs: int = 1
    towers: str = ""


#: One item: its records that are known already, and those that are still to come.
_Known = dict[str, Record]
_Task = tuple[_Known, Future | list[Record]]


def score_items(
    comparison: Comparison, items: Iterable[Item], score_file: ScoreFile
) -> Iterator[list[Record]]:
    """Measure all items with all separators.

    Args:
        comparison: What to run.
        items: Are taken one by one; at most two for each process are in memory.
        score_file: Answers what it knows already, and keeps what is new.

    Yields:
        The records of one item, in the order of items and of ``comparison.specs``.

    Raises:
        AudioSepError: A separator cannot be opened, a worker died, or the disk is full.
    """
    tasks: Iterator[tuple[_Known, list[Record]]]
    tasks = (_here if comparison.jobs == 1 else _elsewhere)(comparison, items, score_file)
    for known, fresh in tasks:
        for record in fresh:
            score_file.add(record)
        every = known | {record.separator: record for record in fresh}
        yield [every[spec.name] for spec in comparison.specs]


def _here(
    comparison: Comparison, items: Iterable[Item], score_file: ScoreFile
) -> Iterator[tuple[_Known, list[Record]]]:
    separators: dict[SeparatorSpec, Separate | Ideal]
    separators = {spec: spec.open(comparison.device) for spec in comparison.specs}
    for item in items:
        known, missing = _look_up(comparison, item, score_file)
        some = [(spec, separators[spec]) for spec in missing]
        yield known, evaluate(item, some, comparison.metrics, comparison.towers)


def _elsewhere(
    comparison: Comparison, items: Iterable[Item], score_file: ScoreFile
) -> Iterator[tuple[_Known, list[Record]]]:
    for spec in comparison.specs:
        # What cannot be opened is told here, in one sentence, rather than by a dead worker.
        spec.open(comparison.device)
    waiting: collections.deque[_Task] = collections.deque()
    threads = max(1, (os.cpu_count() or 1) // comparison.jobs)
    pool = ProcessPoolExecutor(
        comparison.jobs,
        # Forked workers would inherit the locks of ONNX Runtime's threads.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_prepare,
        initargs=(comparison, threads),
    )
    try:
        for item in items:
            known, missing = _look_up(comparison, item, score_file)
            names = [spec.name for spec in missing]
            waiting.append((known, pool.submit(_work, item, names) if names else []))
            if len(waiting) >= 2 * comparison.jobs:
                yield _await(waiting.popleft())
        while waiting:
            yield _await(waiting.popleft())
    except BrokenProcessPool:
        raise SeparatorError(
            "a worker died, perhaps for want of memory; run again with fewer --jobs, and with "
            "-o what is done is kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _await(task: _Task) -> tuple[_Known, list[Record]]:
    known, fresh = task
    return known, fresh.result() if isinstance(fresh, Future) else fresh


def _look_up(
    comparison: Comparison, item: Item, score_file: ScoreFile
) -> tuple[_Known, list[SeparatorSpec]]:
    fingerprint = item.sounds.fingerprint()
    known: _Known = {}
    missing = []
    for spec in comparison.specs:
        question = (spec.key, item.id, item.group, item.query, fingerprint)
        record = score_file.find(question, comparison.metrics)
        if record is None:
            missing.append(spec)
        else:
            known[spec.name] = dataclasses.replace(record, separator=spec.name)
    return known, missing


def evaluate(
    item: Item,
    separators: Sequence[tuple[SeparatorSpec, Separate | Ideal]],
    metrics: Sequence[str],
    towers: str = "",
) -> list[Record]:
    """Measure one item; what goes wrong with its sounds or a separator becomes part of a record."""
    if not separators:
        return []
    fingerprint = item.sounds.fingerprint()
    sounds: MixtureAndTarget | AudioSepError
    try:
        sounds = item.sounds.load()
    except AudioSepError as error:
        sounds = error
    records = []
    for spec, separate in separators:
        scores, fault = _score(sounds, item.query, separate, metrics, towers)
        about = (spec.name, spec.key, item.id, item.group, item.query, fingerprint)
        records.append(Record(*about, scores, fault))
    return records


def _score(
    sounds: MixtureAndTarget | AudioSepError,
    query: str,
    separate: Separate | Ideal,
    metrics: Sequence[str],
    towers: str,
) -> tuple[dict[str, float | None], str]:
    if isinstance(sounds, AudioSepError):
        return {}, str(sounds)
    try:
        if isinstance(separate, Ideal):
            estimate = separate.of(sounds)
        else:
            estimate = separate(sounds.mixture, sounds.sample_rate, query)
        return measure(sounds, estimate, metrics, query, towers), ""
    except (AudioSepError, ValueError) as error:
        return {}, str(error)


_separators: dict[str, tuple[SeparatorSpec, Separate | Ideal]] = {}
_comparison: Comparison


def _prepare(comparison: Comparison, threads: int) -> None:
    end_with_parent()
    global _comparison
    _comparison = comparison
    for spec in comparison.specs:
        _separators[spec.name] = (spec, spec.open(comparison.device, threads))


def _work(item: Item, names: Sequence[str]) -> list[Record]:
    some = [_separators[name] for name in names]
    return evaluate(item, some, _comparison.metrics, _comparison.towers)

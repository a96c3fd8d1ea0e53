"""Runs separators over items: in this process or in several, in bounded memory."""

from __future__ import annotations

import collections
import dataclasses
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from audiosep_core.device import Device
from audiosep_core.errors import AudioSepError, SeparatorError
from training.evaluation.items import Item, Sounds
from training.evaluation.records import Journal, Record
from training.evaluation.scores import measure
from training.evaluation.separators import Contender, Separate


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        contenders: The separators, each with a name of its own.
        metrics: What is measured.
        device: Where our models run.
        jobs: Number of processes.
    """

    contenders: Sequence[Contender]
    metrics: Sequence[str]
    device: Device = "auto"
    jobs: int = 1


#: One item: its records that are known already, and those that are still to come.
_Known = dict[str, Record]
_Task = tuple[_Known, Future | list[Record]]


def run(plan: Plan, items: Iterable[Item], journal: Journal) -> Iterator[list[Record]]:
    """Measure all items with all separators.

    Args:
        plan: What to run.
        items: Are taken one by one; at most two for each process are in memory.
        journal: Answers what it knows already, and keeps what is new.

    Yields:
        The records of one item, in the order of items and of ``plan.contenders``.

    Raises:
        AudioSepError: A separator cannot be opened, a worker died, or the journal's disk is full.
    """
    tasks: Iterator[tuple[_Known, list[Record]]]
    tasks = (_here if plan.jobs == 1 else _elsewhere)(plan, items, journal)
    for known, fresh in tasks:
        for record in fresh:
            journal.add(record)
        every = known | {record.separator: record for record in fresh}
        yield [every[contender.name] for contender in plan.contenders]


def _here(
    plan: Plan, items: Iterable[Item], journal: Journal
) -> Iterator[tuple[_Known, list[Record]]]:
    separators = {contender: contender.open(plan.device) for contender in plan.contenders}
    for item in items:
        known, missing = _look_up(plan, item, journal)
        some = [(contender, separators[contender]) for contender in missing]
        yield known, evaluate(item, some, plan.metrics)


def _elsewhere(
    plan: Plan, items: Iterable[Item], journal: Journal
) -> Iterator[tuple[_Known, list[Record]]]:
    for contender in plan.contenders:
        # What cannot be opened is told here, in one sentence, rather than by a dead worker.
        contender.open(plan.device)
    waiting: collections.deque[_Task] = collections.deque()
    threads = max(1, (os.cpu_count() or 1) // plan.jobs)
    pool = ProcessPoolExecutor(
        plan.jobs,
        # Forked workers would inherit the locks of ONNX Runtime's threads.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_prepare,
        initargs=(plan, threads),
    )
    try:
        for item in items:
            known, missing = _look_up(plan, item, journal)
            names = [contender.name for contender in missing]
            waiting.append((known, pool.submit(_work, item, names) if names else []))
            if len(waiting) >= 2 * plan.jobs:
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


def _look_up(plan: Plan, item: Item, journal: Journal) -> tuple[_Known, list[Contender]]:
    fingerprint = item.sounds.fingerprint()
    known: _Known = {}
    missing = []
    for contender in plan.contenders:
        question = (contender.key, item.id, item.group, item.query, fingerprint)
        record = journal.find(question, plan.metrics)
        if record is None:
            missing.append(contender)
        else:
            known[contender.name] = dataclasses.replace(record, separator=contender.name)
    return known, missing


def evaluate(
    item: Item, separators: Sequence[tuple[Contender, Separate]], metrics: Sequence[str]
) -> list[Record]:
    """Measure one item; what goes wrong with its sounds or a separator becomes part of a record."""
    if not separators:
        return []
    fingerprint = item.sounds.fingerprint()
    sounds: Sounds | AudioSepError
    try:
        sounds = item.sounds.load()
    except AudioSepError as error:
        sounds = error
    records = []
    for contender, separate in separators:
        scores, fault = _score(sounds, item.query, separate, metrics)
        about = (contender.name, contender.key, item.id, item.group, item.query, fingerprint)
        records.append(Record(*about, scores, fault))
    return records


def _score(
    sounds: Sounds | AudioSepError, query: str, separate: Separate, metrics: Sequence[str]
) -> tuple[dict[str, float | None], str]:
    if isinstance(sounds, AudioSepError):
        return {}, str(sounds)
    try:
        estimate = separate(sounds.mixture, sounds.sample_rate, query)
        return measure(sounds, estimate, metrics), ""
    except (AudioSepError, ValueError) as error:
        return {}, str(error)


_separators: dict[str, tuple[Contender, Separate]] = {}
_plan: Plan


def _prepare(plan: Plan, threads: int) -> None:
    global _plan
    _plan = plan
    for contender in plan.contenders:
        _separators[contender.name] = (contender, contender.open(plan.device, threads))


def _work(item: Item, names: Sequence[str]) -> list[Record]:
    return evaluate(item, [_separators[name] for name in names], _plan.metrics)

"""A run over many files: leave out what is done, execute the rest, keep the journal."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing
from typing import Protocol

from audiosep_core.errors import AudioSepError
from audiosep_core.files.catalogue import Job
from audiosep_core.files.job import (
    Outcome,
    SeparationOptions,
    attempt,
    check_output,
    clear_partial,
    file_identity,
)
from audiosep_core.files.journal import Journal
from audiosep_core.separator import Separator

#: Told that a worker, named by its machine and process, begins with a job.
Started = Callable[[Job, str], object]


class Executor(Protocol):
    """What does jobs: :class:`InProcess`, or :class:`audiosep_core.files.cluster.RayWorkers`."""

    def execute(self, jobs: Sequence[Job], started: Started) -> Generator[Outcome, None, None]:
        """Do jobs in any order, each one once, and yield what became of them as they end."""


class InProcess:
    """Does one job after another, here.

    Args:
        separator: The model, as ``options`` gives it.
        options: What to make of every file.
        progress: Gives, for a file's name, a context whose value is called with the frames done
            and the frames in all.
    """

    def __init__(
        self,
        separator: Separator,
        options: SeparationOptions,
        progress: Callable[[str], AbstractContextManager[Callable[[int, int], object]]],
    ) -> None:
        self._separator = separator
        self._options = options
        self._progress = progress

    def execute(self, jobs: Sequence[Job], started: Started) -> Generator[Outcome, None, None]:
        """Do jobs in their order."""
        for job in jobs:
            started(job, this_worker())
            with self._progress(job.source.name) as update:
                outcome = attempt(self._separator, job, self._options, update)
            yield outcome


def this_worker() -> str:
    """The machine and the process, as ``host:pid``."""
    return f"{platform.node()}:{os.getpid()}"


def separate_files(
    jobs: Sequence[Job],
    options: SeparationOptions,
    executor: Executor,
    journal: Journal | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Generator[Outcome, None, None]:
    """Do jobs and yield what became of each.

    Args:
        jobs: What to do, from :func:`audiosep_core.files.catalogue.plan`. None of them may write
            where another one, or itself, reads.
        options: What to make of every file.
        executor: Who does it.
        journal: Where it is recorded.
        resume: Leave out jobs that the journal knows as done, and do again those that were
            stopped midway. Needs a journal.
        overwrite: Replace files that exist.
    """
    todo = []
    found = (file_identity(job.source) for job in jobs)
    inputs = {identity for identity in found if identity is not None}
    for job in jobs:
        done = journal.finished(job) if journal and resume else None
        if done is not None:
            yield done
            continue
        begun = journal is not None and journal.unfinished(job)
        try:
            if begun:
                clear_partial(job, options)
            check_output(job, options, overwrite or (begun and resume), inputs)
        except AudioSepError as error:
            yield Outcome(job, error=error)
        else:
            todo.append(job)
    started = journal.started if journal else _unrecorded
    with closing(executor.execute(todo, started)) as outcomes:
        for outcome in outcomes:
            if journal:
                journal.ended(outcome)
            yield outcome


def _unrecorded(job: Job, worker: str) -> None:
    """A run of a single file needs no journal."""

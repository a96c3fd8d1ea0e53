"""What comes through pipes, kept in files for as long as a run lasts."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from audiosep_core.errors import AudioPathError
from audiosep_core.files.catalogue import Job

#: Standard input, and standard output.
STANDARD = Path("-")


@contextmanager
def kept(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs whose inputs can be read more than once: pipes are copied to a folder of their own.

    A file's end tells much about its beginning, and a sound is read from its start again.

    Raises:
        AudioPathError: A pipe cannot be read, or the copy not be written.
    """
    with tempfile.TemporaryDirectory(prefix="audiosep-") as folder:
        yield [_keep(job, Path(folder) / str(number)) for number, job in enumerate(jobs)]


def _keep(job: Job, copy: Path) -> Job:
    if job.source != STANDARD and (job.source.is_file() or not job.source.exists()):
        return job
    try:
        if job.source == STANDARD:
            _copy(sys.stdin.buffer, copy)
        else:
            with job.source.open("rb") as pipe:
                _copy(pipe, copy)
    except OSError as error:
        raise AudioPathError(
            f"{job.source} cannot be read ({error.strerror or error}); give a file"
        ) from None
    return dataclasses.replace(job, content=copy)


def _copy(pipe: BinaryIO, copy: Path) -> None:
    with copy.open("wb") as file:
        shutil.copyfileobj(pipe, file, 1 << 20)

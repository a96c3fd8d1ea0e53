"""Which files are separated, and which folder the stems of each go to."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from audiosep_core.audio_files import AUDIO_ENDINGS
from audiosep_core.errors import AudioPathError


@dataclasses.dataclass(frozen=True)
class Job:
    """One input and the folder its stems go to."""

    source: Path
    folder: Path


def read_list(path: Path) -> list[Path]:
    """The paths that a text file lists, one a line; blank lines and "#" comments are skipped.

    Args:
        path: The file, UTF-8; "-" is standard input. Its paths are relative to the working
            folder, as those of ``tar --files-from`` are.

    Raises:
        AudioPathError: It cannot be read, is not UTF-8, or lists nothing.
    """
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise AudioPathError(
            f"{path} cannot be read ({error.strerror}); give a text file"
        ) from None
    try:
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise AudioPathError(f"{path}, line {line}: not UTF-8; save the list as UTF-8") from None
    listed = [Path(line) for line in lines if line.strip() and line[0] != "#"]
    if not listed:
        raise AudioPathError(f"{path} lists no file; write one path a line")
    return listed


def plan(inputs: Sequence[Path], output: Path, listed: Sequence[Path] = ()) -> list[Job]:
    """One job for every input; folders are searched for audio files, below them too.

    The stems of ``song.wav`` go to ``output/song/``; below a folder its structure is kept.

    Args:
        inputs: Files and folders that must exist.
        output: Where the stems go.
        listed: Files and folders of a catalogue, each of which keeps its own path below
            ``output``: the stems of ``a/song.wav`` and of ``/a/song.wav`` go to
            ``output/a/song/``. One that is missing is a job that will fail.

    Raises:
        AudioPathError: An input is missing, a folder holds no audio, or two inputs would
            share a folder.
    """
    jobs: dict[Path, Job] = {}
    for job in _jobs(inputs, output, listed):
        other = jobs.setdefault(job.folder, job)
        if other.source.resolve() != job.source.resolve():
            raise AudioPathError(
                f"{other.source} and {job.source} would both be written to {job.folder}; "
                "separate them into different folders"
            )
    return list(jobs.values())


def _jobs(inputs: Sequence[Path], output: Path, listed: Sequence[Path]) -> Iterator[Job]:
    for given in inputs:
        if given.is_dir():
            yield from _inside(given, output)
        elif given.exists():
            yield Job(given, output / given.stem)
        else:
            raise AudioPathError(f"{given} does not exist; check the path")
    for given in listed:
        # What leaves the working folder is placed by its absolute path.
        path = Path(os.path.abspath(given)) if ".." in given.parts else given  # noqa: PTH100
        place = output / path.relative_to(path.anchor)
        if given.is_dir():
            yield from _inside(given, place)
        else:
            yield Job(given, place.with_name(path.stem))


def _inside(given: Path, root: Path) -> Iterator[Job]:
    found = sorted(
        path for path in given.rglob("*") if path.suffix.lower() in AUDIO_ENDINGS and path.is_file()
    )
    if not found:
        raise AudioPathError(f"{given} holds no audio file")
    for source in found:
        yield Job(source, root / source.parent.relative_to(given) / source.stem)

"""Separation of files: plan what will be written, then write it."""

from __future__ import annotations

import dataclasses
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiosep_core.audio_files import (
    AUDIO_ENDINGS,
    AudioReader,
    AudioWriter,
    is_lossy,
    output_format,
    writing,
)
from audiosep_core.errors import AudioFileError, AudioPathError
from audiosep_core.separator import RESIDUAL, Separator, check_sample_rate

_BLOCK_FRAMES = 1 << 17
_LONGEST_NAME = 80


@dataclasses.dataclass(frozen=True)
class Job:
    """One input and the folder its stems go to."""

    source: Path
    folder: Path


@dataclasses.dataclass(frozen=True)
class WrittenStem:
    """One file that was written.

    Attributes:
        query: The query, or "residual".
        path: The file.
        peak: Largest absolute sample before it was stored.
        clipped: Samples beyond full scale that the sample type could not hold.
        lossy: Whether the sample type changes the audio, so that stems no longer sum exactly.
    """

    query: str
    path: Path
    peak: float
    clipped: int
    lossy: bool


def plan(inputs: Sequence[Path], output: Path) -> list[Job]:
    """One job for every input; folders are searched for audio files, below them too.

    The stems of ``song.wav`` go to ``output/song/``; below a folder its structure is kept.

    Raises:
        AudioPathError: An input is missing, a folder holds no audio, or two inputs would
            share a folder.
    """
    jobs: dict[Path, Job] = {}
    for given in inputs:
        if given.is_dir():
            found = sorted(
                path
                for path in given.rglob("*")
                if path.suffix.lower() in AUDIO_ENDINGS and path.is_file()
            )
            if not found:
                raise AudioPathError(f"{given} holds no audio file")
        elif given.exists():
            found = [given]
        else:
            raise AudioPathError(f"{given} does not exist; check the path")
        for source in found:
            below = source.parent.relative_to(given) if given.is_dir() else Path()
            folder = output / below / source.stem
            if folder in jobs and jobs[folder].source.resolve() != source.resolve():
                raise AudioPathError(
                    f"{jobs[folder].source} and {source} would both be written to {folder}; "
                    "separate them into different folders"
                )
            jobs[folder] = Job(source, folder)
    return list(jobs.values())


def stem_names(queries: Sequence[str]) -> dict[str, str]:
    """A file name, without ending, for every query and for the residual; all differ."""
    names: dict[str, str] = {}
    for query in [*queries, RESIDUAL]:
        plain = unicodedata.normalize("NFC", query).casefold()
        base = re.sub(r"[^\w]+", "-", plain).strip("-_")[:_LONGEST_NAME] or "stem"
        name, number = base, 2
        while name in names.values() or (name == RESIDUAL and query != RESIDUAL):
            name, number = f"{base}-{number}", number + 1
        names[query] = name
    return names


def separate_file(
    separator: Separator,
    job: Job,
    queries: Sequence[str],
    *,
    with_residual: bool = False,
    overwrite: bool = False,
    format: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[WrittenStem]:
    """Separate one file into stems, in bounded memory; write all of them or none.

    Args:
        separator: The model.
        job: What to read and where to write.
        queries: What to separate, tidied and distinct.
        with_residual: Write what is left over, too.
        overwrite: Replace files that exist.
        format: "wav" (32-bit float), "flac" (24 bit), or None for the input's own.
        progress: Called with the frames done and the frames in all.

    Raises:
        AudioFileError: The input cannot be read, or the output cannot be written.
    """
    with AudioReader(job.source) as reader:
        try:
            check_sample_rate(reader.sample_rate)
        except ValueError as error:
            raise AudioFileError(f"{job.source}: {error}") from None
        container, subtype, ending = output_format(reader, format)
        names = stem_names(queries)
        if not with_residual:
            del names[RESIDUAL]
        paths = {query: job.folder / (name + ending) for query, name in names.items()}
        check_output(job, paths, overwrite)
        writers: list[AudioWriter] = []
        with _new_folder(job.folder), writing(writers):
            for path in paths.values():
                writers.append(
                    AudioWriter(
                        path, reader.sample_rate, reader.channels, container, subtype, reader.frames
                    )
                )
            _separate_blocks(separator, reader, queries, writers, progress)
    return [
        WrittenStem(query, writer.path, writer.peak, writer.clipped, is_lossy(subtype))
        for query, writer in zip(names, writers, strict=True)
    ]


def check_output(job: Job, paths: dict[str, Path], overwrite: bool) -> None:
    """Refuse what would destroy a file.

    Raises:
        AudioPathError: An output exists and may not be overwritten, or is the input.
    """
    for path in paths.values():
        if path.exists() and path.resolve() == job.source.resolve():
            raise AudioPathError(f"{path} is the input itself; choose another output folder")
        if path.exists() and not overwrite:
            raise AudioPathError(f"{path} exists; give --overwrite to replace it")


def _separate_blocks(
    separator: Separator,
    reader: AudioReader,
    queries: Sequence[str],
    writers: list[AudioWriter],
    progress: Callable[[int, int], object] | None,
) -> None:
    stream = separator.stream(queries, reader.sample_rate, reader.channels)
    done = 0
    for block in reader.blocks(_BLOCK_FRAMES):
        _write(writers, stream.push(block))
        done += block.shape[-1]
        if progress is not None:
            progress(done, reader.frames)
    _write(writers, stream.finish())


def _write(writers: list[AudioWriter], stems: NDArray[np.float32]) -> None:
    # Without a writer for the residual, which comes last, it is left out here.
    for writer, stem in zip(writers, stems, strict=False):
        writer.write(stem)


def check_writable(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns the ones that were missing, innermost first.

    Raises:
        AudioPathError: It cannot be made, or may not be written to.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise AudioPathError(f"{folder} cannot be written to: {error.strerror or error}") from None
    return missing


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Make a folder; if what is done in it fails, remove again what was made."""
    made = check_writable(folder)
    try:
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise

"""Separation of a file: the one definition of a job that every kind of run executes."""

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
    AudioReader,
    AudioWriter,
    is_lossy,
    output_ending,
    output_format,
    remove_partial,
    writing,
)
from audiosep_core.catalogue import Job
from audiosep_core.device import Device
from audiosep_core.errors import AudioFileError, AudioPathError, AudioSepError
from audiosep_core.models import DEFAULT_MODEL
from audiosep_core.separator import RESIDUAL, Separator, check_sample_rate

_BLOCK_FRAMES = 1 << 17
_LONGEST_NAME = 80


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


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is made of every file: with it and a job any process makes the same stems.

    Attributes:
        queries: What to separate, tidied and distinct.
        model: Name of an installed model, or path of a bundle.
        device: "auto", "cpu" or "cuda".
        threads: Threads of the network on the CPU; 0 takes all cores. Another number may change
            the last bit of a sample.
        packs: Query packs.
        with_residual: Write what is left over, too.
        format: "wav" (32-bit float), "flac" (24 bit), or None for each input's own.
    """

    queries: tuple[str, ...]
    model: str | Path = DEFAULT_MODEL
    device: Device = "auto"
    threads: int = 0
    packs: tuple[Path, ...] = ()
    with_residual: bool = False
    format: str | None = None

    def separator(self) -> Separator:
        """The model, loaded.

        Raises:
            BundleError: The model or a pack is unknown or damaged.
            DeviceError: The device cannot be had.
        """
        separator = Separator(self.model, self.device, self.threads)
        for pack in self.packs:
            separator.encoder.add_pack(pack)
        return separator

    def stem_paths(self, job: Job) -> dict[str, Path]:
        """Query, then "residual" if it is written, to file."""
        names = stem_names(self.queries)
        if not self.with_residual:
            del names[RESIDUAL]
        ending = output_ending(job.source, self.format)
        return {query: job.folder / (name + ending) for query, name in names.items()}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: The job.
        stems: What was written; empty if it failed.
        error: Why it failed, or None.
        resumed: Whether an earlier run had done it.
    """

    job: Job
    stems: list[WrittenStem] = dataclasses.field(default_factory=list)
    error: AudioSepError | None = None
    resumed: bool = False


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


def attempt(
    separator: Separator,
    job: Job,
    recipe: Recipe,
    progress: Callable[[int, int], object] | None = None,
) -> Outcome:
    """Do one job; whatever one file does to it, a catalogue can go on with the next."""
    try:
        return Outcome(job, separate_file(separator, job, recipe, progress))
    except AudioSepError as error:
        return Outcome(job, error=error)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return Outcome(job, error=AudioFileError(f"{job.source} cannot be separated: {reason}"))


def separate_file(
    separator: Separator,
    job: Job,
    recipe: Recipe,
    progress: Callable[[int, int], object] | None = None,
) -> list[WrittenStem]:
    """Separate one file into stems, in bounded memory; write all of them or none.

    Files that exist are replaced: :func:`check_output` comes first.

    Args:
        separator: The model, as ``recipe`` gives it.
        job: What to read and where to write.
        recipe: What to make of it.
        progress: Called with the frames done and the frames in all.

    Raises:
        AudioFileError: The input cannot be read, or the output cannot be written.
    """
    with AudioReader(job.source) as reader:
        try:
            check_sample_rate(reader.sample_rate)
        except ValueError as error:
            raise AudioFileError(f"{job.source}: {error}") from None
        container, subtype = output_format(reader, recipe.format)
        paths = recipe.stem_paths(job)
        writers: list[AudioWriter] = []
        with _new_folder(job.folder), writing(writers):
            for path in paths.values():
                writers.append(
                    AudioWriter(
                        path, reader.sample_rate, reader.channels, container, subtype, reader.frames
                    )
                )
            _separate_blocks(separator, reader, recipe.queries, writers, progress)
    return [
        WrittenStem(query, writer.path, writer.peak, writer.clipped, is_lossy(subtype))
        for query, writer in zip(paths, writers, strict=True)
    ]


def clear_partial(job: Job, recipe: Recipe) -> None:
    """Remove what a process left of a job when it was killed: partial files, an empty folder."""
    for path in recipe.stem_paths(job).values():
        remove_partial(path)
    with suppress(OSError):
        job.folder.rmdir()


def check_output(job: Job, recipe: Recipe, overwrite: bool) -> None:
    """Refuse what would destroy a file.

    Raises:
        AudioPathError: An output exists and may not be overwritten, or is the input.
    """
    for path in recipe.stem_paths(job).values():
        if path.exists() and path.resolve() == job.source.resolve():
            raise AudioPathError(f"{path} is the input itself; choose another output folder")
        if path.exists() and not overwrite:
            raise AudioPathError(
                f"{path} exists; give --overwrite to replace it, or --resume to keep "
                "what an earlier run finished"
            )


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

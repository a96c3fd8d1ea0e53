"""Separation of a file: the one definition of a job that every kind of run executes."""

from __future__ import annotations

import dataclasses
import re
import tempfile
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiosep_core.atomic import cut_name, remove_stale
from audiosep_core.errors import AudioFileError, AudioPathError, AudioSepError
from audiosep_core.files.audio_reader import AudioReader, as_float, is_lossy
from audiosep_core.files.audio_writer import AudioWriter, output_ending, output_format, writing
from audiosep_core.files.bit_rate import fitting_compression
from audiosep_core.files.catalogue import Job
from audiosep_core.files.kinds import kind_at
from audiosep_core.files.rounding import Rounding
from audiosep_core.files.side_data import describe, dress
from audiosep_core.model.installed import DEFAULT_MODEL
from audiosep_core.runtime.device import Device
from audiosep_core.separator import RESIDUAL, Separator, stem_queries
from audiosep_core.settings import Settings, check_sample_rate

_BLOCK_FRAMES = 1 << 17
# Of a stem's name without its ending, in bytes: file systems take 255, some of them 143.
_LONGEST_NAME = 90


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
class SeparationOptions:
    """What is made of every file: with it and a job any process makes the same stems.

    Attributes:
        settings: What to separate, every query once.
        model: Name of an installed model, or path of a bundle.
        device: "auto", "cpu" or "cuda".
        threads: Threads of the network on the CPU; 0 takes all cores. Another number may change
            the last bit of a sample.
        packs: Query packs.
        with_residual: Write what is left over, too.
        format: "wav" (32-bit float), "flac" (24 bit), or None for each input's own.
        partial: Take what is left of damaged files.
    """

    settings: Settings
    model: str | Path = DEFAULT_MODEL
    device: Device = "auto"
    threads: int = 0
    packs: tuple[Path, ...] = ()
    with_residual: bool = False
    format: str | None = None
    partial: bool = False

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
        """Query, then "residual" if it is written, to file; the ending is the container's."""
        names = stem_names(stem_queries(self.settings))
        if not self.with_residual:
            del names[RESIDUAL]
        ending = output_ending(kind_at(job.path), job.source.name, self.format)
        return {query: job.folder / (name + ending) for query, name in names.items()}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: The job.
        stems: What was written; empty if it failed.
        error: Why it failed, or None.
        resumed: Whether an earlier run had done it.
        note: What is odd about the input, without harm; empty if nothing is.
        damage: What is wrong with an input of which only a part was taken.
    """

    job: Job
    stems: list[WrittenStem] = dataclasses.field(default_factory=list)
    error: AudioSepError | None = None
    resumed: bool = False
    note: str = ""
    damage: str = ""


def stem_names(queries: Sequence[str]) -> dict[str, str]:
    """A file name, without ending, for every query and for the residual; all differ."""
    names: dict[str, str] = {}
    for query in [*queries, RESIDUAL]:
        plain = unicodedata.normalize("NFC", query).casefold()
        base = cut_name(re.sub(r"[^\w]+", "-", plain).strip("-_"), _LONGEST_NAME) or "stem"
        name, number = base, 2
        while name in names.values() or (name == RESIDUAL and query != RESIDUAL):
            name, number = f"{base}-{number}", number + 1
        names[query] = name
    return names


def attempt(
    separator: Separator,
    job: Job,
    options: SeparationOptions,
    progress: Callable[[int, int], object] | None = None,
) -> Outcome:
    """Do one job; whatever one file does to it, a catalogue can go on with the next."""
    try:
        return separate_file(separator, job, options, progress)
    except AudioSepError as error:
        return Outcome(job, error=error)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return Outcome(job, error=AudioFileError(f"{job.source} cannot be separated: {reason}"))


def separate_file(
    separator: Separator,
    job: Job,
    options: SeparationOptions,
    progress: Callable[[int, int], object] | None = None,
) -> Outcome:
    """Separate one file into stems, in bounded memory; write all of them or none.

    Files that exist are replaced: :func:`check_output` comes first.

    Args:
        separator: The model, as ``options`` gives it.
        job: What to read and where to write.
        options: What to make of it.
        progress: Called with the frames done and the frames in all.

    Raises:
        AudioFileError: The input cannot be read, or the output cannot be written.
    """
    with AudioReader(job.path, partial=options.partial, piped_from=job.piped_from) as reader:
        try:
            check_sample_rate(reader.sample_rate)
        except ValueError as error:
            raise AudioFileError(f"{job.source}: {error}") from None
        subtype = output_format(reader, options.format)[1]
        paths = options.stem_paths(job)
        writers: list[AudioWriter] = []
        with _new_folder(job.folder), writing(writers):
            _open_writers(job, options, reader, paths, writers)
            _separate_blocks(separator, reader, options.settings, writers, progress)
        damage = reader.damage and _what_is_left(reader)
        stems = [
            WrittenStem(query, writer.path, writer.peak, writer.clipped, is_lossy(subtype))
            for query, writer in zip(paths, writers, strict=True)
        ]
        return Outcome(job, stems, note=reader.note, damage=damage)


def _open_writers(
    job: Job,
    options: SeparationOptions,
    reader: AudioReader,
    paths: dict[str, Path],
    writers: list[AudioWriter],
) -> None:
    container, subtype = output_format(reader, options.format)
    compression = None
    if is_lossy(subtype):
        with AudioReader(job.path, partial=options.partial) as probe:
            compression = fitting_compression(probe, container, subtype)
    for query, path in paths.items():
        without = stem_queries(options.settings) if query == RESIDUAL else []
        description = describe(query, without)
        side = reader.side_data
        dressed = dress(side, container, description, reader.channels, reader.speakers)
        writers.append(
            AudioWriter(
                path,
                reader.sample_rate,
                reader.channels,
                container,
                subtype,
                reader.frames,
                speakers=reader.speakers,
                compression=compression,
                dressed=dressed,
            )
        )


def _what_is_left(reader: AudioReader) -> str:
    seconds = reader.frames / reader.sample_rate
    return f"0.00 s to {seconds:.2f} s were taken: it {reader.damage}"


def clear_partial(job: Job, options: SeparationOptions) -> bool:
    """Remove what a process left of a job when it was killed: partial files, an empty folder.

    Returns:
        Whether nothing is left; the process may take a moment to let go of its files.
    """
    cleared = [remove_stale(path) for path in options.stem_paths(job).values()]
    with suppress(OSError):
        job.folder.rmdir()
    return all(cleared)


def check_output(
    job: Job, options: SeparationOptions, overwrite: bool, inputs: Collection[tuple[int, int]] = ()
) -> None:
    """Refuse what would destroy a file.

    Args:
        job: What to read and where to write.
        options: What to make of it.
        overwrite: Whether files that exist may be replaced.
        inputs: The files that the run reads, as :func:`file_identity` has them.

    Raises:
        AudioPathError: An output exists and may not be overwritten, or is an input.
    """
    for path in options.stem_paths(job).values():
        identity = file_identity(path)
        if identity is not None and identity == file_identity(job.source):
            raise AudioPathError(f"{path} is the input itself; choose another output folder")
        if identity is not None and identity in inputs:
            raise AudioPathError(
                f"{path} is an input of this run, and would be replaced by a stem of "
                f"{job.source}; choose another output folder"
            )
        if path.exists() and not overwrite:
            raise AudioPathError(
                f"{path} exists; give --overwrite to replace it, or --resume to keep "
                "what an earlier run finished"
            )


def file_identity(path: Path) -> tuple[int, int] | None:
    """What two names of one file share, links and spellings alike; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _separate_blocks(
    separator: Separator,
    reader: AudioReader,
    settings: Settings,
    writers: list[AudioWriter],
    progress: Callable[[int, int], object] | None,
) -> None:
    stream = separator.stream(settings, reader.sample_rate, reader.channels)
    bits = writers[0].integer_bits
    rounding = Rounding(reader.channels, bits) if bits is not None else None
    blocks: Iterator[NDArray[np.int32] | NDArray[np.float32]] = (
        reader.integer_blocks(_BLOCK_FRAMES)
        if rounding is not None and reader.integer_bits is not None
        else reader.blocks(_BLOCK_FRAMES)
    )
    done = 0
    for block in blocks:
        if rounding is not None:
            rounding.push(block)
        floats = as_float(block)
        _write(writers, stream.push(floats), rounding)
        done += block.shape[-1]
        if progress is not None:
            progress(done, reader.frames)
    _write(writers, stream.finish(), rounding)


def _write(
    writers: list[AudioWriter], stems: NDArray[np.float32], rounding: Rounding | None
) -> None:
    rounded = [None] * len(stems) if rounding is None else rounding.pop(stems)
    # Without a writer for the residual, which comes last, it is left out here.
    for writer, stem, whole in zip(writers, stems, rounded, strict=False):
        writer.write(stem, whole)


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

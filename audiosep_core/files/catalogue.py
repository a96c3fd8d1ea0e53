"""Which files are separated, and which folder the stems of each go to."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from audiosep_core.atomic import is_partial
from audiosep_core.errors import AudioPathError
from audiosep_core.files.kinds import APPLE_DOUBLE, AUDIO_ENDINGS, kind_at
from audiosep_core.files.side_data import is_made_here

#: The journal of a run, in its output folder.
JOURNAL = ".audiosep-run.jsonl"
_MACOS_FOLDER = "__MACOSX"


@dataclasses.dataclass(frozen=True)
class Job:
    """One input and the folder its stems go to.

    Attributes:
        source: The input, as it was given.
        folder: Where its stems go.
        content: Where its bytes lie, if not there: what came through a pipe is kept in a file.
    """

    source: Path
    folder: Path
    content: Path | None = None

    @property
    def path(self) -> Path:
        """Where the input's bytes lie."""
        return self.source if self.content is None else self.content

    @property
    def piped_from(self) -> Path | None:
        """What the bytes are a copy of, or None."""
        return None if self.content is None else self.source


@dataclasses.dataclass
class Plan:
    """What a run will do.

    Attributes:
        jobs: One for each input, all with folders of their own.
        refused: Inputs that would share a folder with another, and why they are left alone.
        skipped: Files in folders that are left alone, and why.
    """

    jobs: list[Job] = dataclasses.field(default_factory=list)
    refused: dict[Job, AudioPathError] = dataclasses.field(default_factory=dict)
    skipped: dict[Path, str] = dataclasses.field(default_factory=dict)


def read_paths(path: Path) -> list[Path]:
    """The paths that a text file lists, one a line; blank lines and "#" comments are skipped.

    Args:
        path: The file, UTF-8; "-" is standard input. Its paths are relative to the working
            folder, as those of ``tar --files-from`` are. A name that is not UTF-8 is taken as it
            is where a file has it.

    Raises:
        AudioPathError: It cannot be read, is not UTF-8, or lists nothing.
    """
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise AudioPathError(
            f"{path} cannot be read ({error.strerror}); give a text file"
        ) from None
    listed = []
    lines = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        try:
            listed.append(Path(line.decode()))
        except UnicodeDecodeError:
            named = Path(os.fsdecode(line))
            if not named.exists():
                raise AudioPathError(
                    f"{path}, line {number}: not UTF-8; save the list as UTF-8"
                ) from None
            listed.append(named)
    if not listed:
        raise AudioPathError(f"{path} lists no file; write one path a line")
    return listed


def plan(inputs: Sequence[Path], output: Path, listed: Sequence[Path] = ()) -> Plan:
    """One job for every input; folders are searched for audio files, below them too.

    The stems of ``song.wav`` go to ``output/song/``; below a folder its structure is kept. Where
    ``song.flac`` lies beside it, theirs go to ``output/song.wav/`` and ``output/song.flac/``.
    What is audio is told by content. Stems that this program wrote are left alone in folders, and
    so is what macOS leaves beside files.

    Args:
        inputs: Files and folders that must exist; "-" is standard input.
        output: Where the stems go.
        listed: Files and folders of a catalogue, each of which keeps its own path below
            ``output``: the stems of ``a/song.wav`` and of ``/a/song.wav`` go to
            ``output/a/song/``. One that is missing is a job that will fail.

    Raises:
        AudioPathError: An input is missing, or a folder holds no audio.
    """
    planned = Plan()
    products = _Products(output)
    sharing: dict[Path, dict[Path, Job]] = {}
    for job in _jobs(inputs, output, listed, products, planned):
        sharing.setdefault(job.folder, {}).setdefault(_identity(job.source), job)
    for folder, jobs in sharing.items():
        if len(jobs) == 1:
            planned.jobs += jobs.values()
            continue
        named = [
            dataclasses.replace(job, folder=folder.with_name(job.source.name))
            for job in jobs.values()
        ]
        places = [job.folder for job in named]
        for job in named:
            if places.count(job.folder) == 1 and job.folder not in sharing:
                planned.jobs.append(job)
                continue
            other = next(one for one in named if one.source != job.source)
            planned.refused[job] = AudioPathError(
                f"{job.source} and {other.source} would both be written to {folder}; separate "
                "them into different folders"
            )
    return planned


def _identity(source: Path) -> Path:
    try:
        return source.resolve()
    except (OSError, RuntimeError):
        return source.absolute()


def _jobs(
    inputs: Sequence[Path],
    output: Path,
    listed: Sequence[Path],
    products: _Products,
    planned: Plan,
) -> Iterator[Job]:
    for given in inputs:
        if given == Path("-"):
            yield Job(given, output / "stdin")
        elif given.is_dir():
            yield from _inside(given, output, products, planned)
        elif given.exists():
            yield Job(given, output / given.stem)
        else:
            raise AudioPathError(f"{given} does not exist; check the path")
    for given in listed:
        # What leaves the working folder is placed by its absolute path.
        path = Path(os.path.abspath(given)) if ".." in given.parts else given  # noqa: PTH100
        place = output / path.relative_to(path.anchor)
        if given.is_dir():
            yield from _inside(given, place, products, planned)
        else:
            yield Job(given, place.with_name(path.stem))


def _inside(given: Path, root: Path, products: _Products, planned: Plan) -> Iterator[Job]:
    found = []
    for path in sorted(given.rglob("*")):
        if not path.is_file():
            continue
        reason = _why_not(path, products)
        if reason is None:
            found.append(path)
        elif reason:
            planned.skipped[path] = reason
    if not found:
        earlier = "; what is in it was made by an earlier run" if planned.skipped else ""
        raise AudioPathError(f"{given} holds no audio file{earlier if _made(planned) else ''}")
    for source in found:
        yield Job(source, root / source.parent.relative_to(given) / source.stem)


def _made(planned: Plan) -> bool:
    return any(reason == _Products.reason for reason in planned.skipped.values())


def _why_not(path: Path, products: _Products) -> str | None:
    """Why a file is no input: None if it is one, nothing if nobody would miss it."""
    if is_partial(path) or path.name == JOURNAL or _MACOS_FOLDER in path.parts:
        return ""
    kind = kind_at(path)
    is_named_so = path.suffix.lower() in AUDIO_ENDINGS
    if kind is None and (not is_named_so or (path.name.startswith("._") and _is_apple(path))):
        return "" if path.name.startswith(".") else "no audio"
    return products.reason if path in products else None


def _is_apple(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == APPLE_DOUBLE
    except OSError:
        return False


class _Products:
    """The files that earlier runs made: those of a journal, and those that say so themselves."""

    reason = "made by an earlier run"

    def __init__(self, output: Path) -> None:
        self._journals: dict[Path, set[Path]] = {}
        self._read(output.resolve())

    def __contains__(self, path: Path) -> bool:
        real = path.resolve()
        for folder in real.parents:
            if real in self._read(folder):
                return True
        return is_made_here(path)

    def _read(self, folder: Path) -> set[Path]:
        """The stems of the journal in a folder."""
        known = self._journals.get(folder)
        if known is None:
            known = self._journals[folder] = set(_stems_of(folder))
        return known


def _stems_of(folder: Path) -> Iterator[Path]:
    try:
        lines = (folder / JOURNAL).read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            record = json.loads(line)
            if record["event"] == "done":
                yield from (folder / stem["path"] for stem in record["stems"])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue

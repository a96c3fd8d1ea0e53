"""What a benchmark is made of: a mixture, the target in it, and the words that ask for it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from audiosep_core.errors import AudioFileError, MetadataError
from audiosep_core.files.audio_reader import AudioReader
from audiosep_core.files.kinds import AUDIO_ENDINGS
from audiosep_core.separator import RESIDUAL

#: (channels, frames).
Audio = NDArray[np.float32]

_BLOCK_FRAMES = 1 << 20


class Loadable(Protocol):
    """A mixture and its target, read when they are needed."""

    def load(self) -> MixtureAndTarget:
        """Read them."""

    def fingerprint(self) -> str:
        """Changes with them."""


@dataclasses.dataclass(frozen=True)
class MixtureAndTarget:
    """A mixture and its target, in memory.

    Attributes:
        mixture: (channels, frames) float32.
        target: Of the same shape.
        sample_rate: In Hz.
    """

    mixture: Audio
    target: Audio
    sample_rate: int

    def load(self) -> MixtureAndTarget:
        """Itself."""
        return self

    def fingerprint(self) -> str:
        """Changes with the samples."""
        digest = hashlib.sha256(self.mixture.tobytes())
        digest.update(self.target.tobytes())
        return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class MixtureAndTargetFiles:
    """A mixture and its target, as files.

    Attributes:
        mixture: Path of the mixture.
        target: Path of the target.
        sample_rate: Both are averaged to mono and resampled to this rate in Hz, as the released
            evaluation loads them; None keeps the files' own channels and rate.
    """

    mixture: Path
    target: Path
    sample_rate: int | None

    def load(self) -> MixtureAndTarget:
        """Read both files.

        Raises:
            AudioFileError: One cannot be read, is empty, or holds NaN; or they do not fit.
        """
        mixture, rate = read_sound(self.mixture, self.sample_rate)
        target, target_rate = read_sound(self.target, self.sample_rate)
        if (mixture.shape, rate) != (target.shape, target_rate):
            raise AudioFileError(
                f"{self.mixture} ({_describe(mixture, rate)}) and {self.target} "
                f"({_describe(target, target_rate)}) do not fit; both must have one length, one "
                "rate and as many channels"
            )
        return MixtureAndTarget(mixture, target, rate)

    def fingerprint(self) -> str:
        """Changes when a file is written again."""
        digest = hashlib.sha256()
        for path in (self.mixture, self.target):
            if path.is_file():
                status = path.stat()
                digest.update(f"{status.st_size} {status.st_mtime_ns} ".encode())
        return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Item:
    """One question of a benchmark.

    Attributes:
        id: Names the mixture within its benchmark.
        group: Class, signal-to-noise ratio or kind of query that it is averaged with; may be "".
        query: What asks for the target.
        sounds: The mixture and the target; they are read when they are needed.
    """

    id: str
    group: str
    query: str
    sounds: Loadable


def read_items(data: Path) -> Iterator[Item]:
    """Items in folders with ``mixture.wav``, at any depth; files keep their rate and channels.

    Beside the mixture lies either ``query.txt`` with ``target.wav`` (and ``group.txt``, if it
    is averaged with others), or one file for each stem, named by its query: ``bass-guitar.wav``.

    Raises:
        MetadataError: A text is empty or no UTF-8.
    """
    for folder, sounds in _folders(data):
        mixture = sounds.pop("mixture")
        name = folder.relative_to(data).as_posix()
        question = folder / "query.txt"
        if question.is_file():
            target = sounds.get("target", folder / "target.wav")
            group = folder / "group.txt"
            label = _text(group) if group.is_file() else ""
            yield Item(name, label, _text(question), MixtureAndTargetFiles(mixture, target, None))
            continue
        for stem, target in sounds.items():
            query = stem.replace("-", " ").replace("_", " ").strip()
            if stem != RESIDUAL and query:
                files = MixtureAndTargetFiles(mixture, target, None)
                yield Item(f"{name}/{stem}", query, query, files)


def _folders(data: Path) -> Iterator[tuple[Path, dict[str, Path]]]:
    for folder in sorted({path.parent for path in data.rglob("mixture.*")}):
        sounds = {
            path.stem: path
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in AUDIO_ENDINGS
        }
        if "mixture" in sounds:
            yield folder, sounds


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise MetadataError(f"{path} is not UTF-8; save it as UTF-8") from None
    if not text:
        raise MetadataError(f"{path} is empty; write the text it stands for")
    return text


def read_sound(path: Path, sample_rate: int | None = None) -> tuple[NDArray[np.float32], int]:
    """A whole file as (channels, frames) float32, and its rate in Hz.

    Args:
        path: The file.
        sample_rate: If given, the channels are averaged and resampled to this rate (soxr's
            quality "HQ", as librosa loads them for the released evaluation).

    Raises:
        AudioFileError: It cannot be read, is empty, or holds NaN or infinity.
    """
    with AudioReader(path) as reader:
        audio, rate = np.concatenate(list(reader.blocks(_BLOCK_FRAMES)), -1), reader.sample_rate
    if sample_rate is None:
        return audio, rate
    mono = resample(audio.mean(0, keepdims=True), rate, sample_rate)
    if not mono.size:
        raise AudioFileError(f"{path} is too short: nothing is left of it at {sample_rate} Hz")
    return mono, sample_rate


def resample(audio: Audio, rate: int, wanted: int) -> Audio:
    """(channels, frames) at another rate; the same array where the rates are equal."""
    if rate == wanted:
        return audio
    return np.ascontiguousarray(soxr.resample(audio.T, rate, wanted).T, np.float32)


def _describe(audio: Audio, rate: int) -> str:
    return f"{audio.shape[0]} channel(s), {audio.shape[1]} samples at {rate} Hz"

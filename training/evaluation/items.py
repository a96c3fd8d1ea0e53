"""What a benchmark is made of: a mixture, the target in it, and the words that ask for it."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from audiosep_core.audio_files import AudioReader
from audiosep_core.errors import AudioFileError

_BLOCK_FRAMES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Sounds:
    """A mixture and its target, in memory.

    Attributes:
        mixture: (channels, frames) float32.
        target: Of the same shape.
        sample_rate: In Hz.
    """

    mixture: NDArray[np.float32]
    target: NDArray[np.float32]
    sample_rate: int

    def load(self) -> Sounds:
        """Itself."""
        return self

    def fingerprint(self) -> str:
        """Changes with the samples."""
        digest = hashlib.sha256(self.mixture.tobytes())
        digest.update(self.target.tobytes())
        return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class SoundFiles:
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

    def load(self) -> Sounds:
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
        return Sounds(mixture, target, rate)

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
    sounds: Sounds | SoundFiles


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


def resample(audio: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """(channels, frames) at another rate; the same array where the rates are equal."""
    if rate == wanted:
        return audio
    return np.ascontiguousarray(soxr.resample(audio.T, rate, wanted).T, np.float32)


def _describe(audio: NDArray[np.float32], rate: int) -> str:
    return f"{audio.shape[0]} channel(s), {audio.shape[1]} samples at {rate} Hz"

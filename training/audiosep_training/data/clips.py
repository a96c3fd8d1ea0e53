"""One clip of a list or a shard as a training example hears it: mono, cut to length."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from audiosep_core.errors import AudioFileError
from audiosep_core.files.audio_reader import AudioReader

_READERS = 8


@dataclasses.dataclass(frozen=True)
class ClipFormat:
    """What a clip is brought to.

    Attributes:
        sample_rate: In Hz.
        samples: Length at that rate; shorter clips are followed by silence.
        shortest: Clips of fewer samples at that rate are unusable.
    """

    sample_rate: int
    samples: int
    shortest: int


def cut_clip(
    reader: AudioReader, format: ClipFormat, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A random piece of a sound file: (samples,) float32, the mean of all its channels.

    Only the piece is read. (The released code averages the first two channels.)

    Raises:
        AudioFileError: The file is too short, damaged, or holds NaN or infinity.
    """
    check_length(reader, format)
    needed = math.ceil(format.samples * reader.sample_rate / format.sample_rate)
    surplus = reader.frames - needed
    start = int(rng.integers(surplus + 1)) if surplus > 0 else 0
    mono = reader.segment(start, needed).mean(axis=0, dtype=np.float32)
    if reader.sample_rate != format.sample_rate:
        mono = soxr.resample(mono, reader.sample_rate, format.sample_rate)
    piece = np.zeros(format.samples, np.float32)
    kept = min(len(mono), format.samples)
    piece[:kept] = mono[:kept]
    return piece


def check_length(reader: AudioReader, format: ClipFormat) -> None:
    """Refuse a clip that is too short.

    Raises:
        AudioFileError: It is.
    """
    if reader.frames * format.sample_rate < format.shortest * reader.sample_rate:
        raise AudioFileError(
            f"{reader.path} is {reader.frames / reader.sample_rate:.2f} s long, shorter than "
            f"{format.shortest / format.sample_rate:g} s; leave it out"
        )


def unusable_clips(paths: Sequence[Path], format: ClipFormat) -> list[str]:
    """What is wrong with files by their headers: one sentence for each that cannot be used."""

    def fault(path: Path) -> str | None:
        try:
            with AudioReader(path) as reader:
                check_length(reader, format)
        except AudioFileError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(_READERS) as pool:
        return [found for found in pool.map(fault, paths) if found is not None]

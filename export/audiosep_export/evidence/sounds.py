"""Sounds with their queries: what an int8 export is calibrated and judged on."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from audiosep_core.demo import demo_sources
from audiosep_core.errors import UsageError
from audiosep_core.files.audio_reader import AudioReader
from audiosep_core.files.kinds import AUDIO_ENDINGS
from audiosep_export.evidence.signals import verification_signals

#: Longer ones are cut.
_LONGEST_SECONDS = 12
_SYNTHETIC_SECONDS = 6
_SYNTHETIC = {"music": "plucked chords", "speech": "a person speaking", "noise": "white noise"}
_LEVEL = 0.1

Sounds = dict[str, NDArray[np.float32]]


def labelled_sounds(folder: Path | None, sample_rate: int) -> Sounds:
    """Query to (samples,) of one level at a rate.

    Args:
        folder: Sound files, each named by the query that asks for it; None takes the demo's
            recordings and synthetic signals.
        sample_rate: In Hz.

    Raises:
        UsageError: The folder holds fewer than two sounds.
        AudioFileError: One cannot be read.
    """
    if folder is None:
        recordings, rate = demo_sources()
        sounds = {query: _at_rate(audio, rate, sample_rate) for query, audio in recordings.items()}
        signals = verification_signals(_SYNTHETIC_SECONDS * sample_rate, sample_rate)
        sounds |= {query: signals[name] for name, query in _SYNTHETIC.items()}
    else:
        paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in AUDIO_ENDINGS)
        sounds = {path.stem: _read(path, sample_rate) for path in paths}
        if len(sounds) < 2:
            raise UsageError(
                f"{folder} holds {len(sounds)} sound files; give a folder with at least two, each "
                "named by its query"
            )
    levels = {query: float(np.sqrt(np.mean(sound**2))) for query, sound in sounds.items()}
    return {query: sound * (_LEVEL / max(levels[query], 1e-9)) for query, sound in sounds.items()}


def mixtures(sounds: Sounds) -> list[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    """Each sound with the next and with the one before: query, (samples,) target and mixture."""
    found = []
    names = list(sounds)
    for one, other in pairwise([*names, *names[:1]] if len(names) > 2 else names):
        length = min(len(sounds[one]), len(sounds[other]))
        mixture = sounds[one][:length] + sounds[other][:length]
        found += [(name, sounds[name][:length], mixture) for name in (one, other)]
    return found


def _read(path: Path, sample_rate: int) -> NDArray[np.float32]:
    with AudioReader(path) as reader:
        audio = next(reader.blocks(_LONGEST_SECONDS * reader.sample_rate))
        return _at_rate(audio, reader.sample_rate, sample_rate)


def _at_rate(audio: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """(channels, frames) to mono at a rate."""
    return np.asarray(soxr.resample(audio.mean(axis=0), rate, wanted), np.float32)

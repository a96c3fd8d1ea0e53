"""How the two recordings of a pair become a mixture, as the paper has it for each set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from audiosep_core.errors import AudioFileError, UsageError
from audiosep_core.extras import needed_for
from audiosep_core.files.items import Audio, read_sound
from audiosep_training.data.mixing import mix_at, mix_factors
from audiosep_training.datasets.recordings import SEGMENT_SECONDS, Recording
from audiosep_training.evaluation.sets.layouts import RATE
from audiosep_training.evaluation.sets.loudness import integrated_loudness
from audiosep_training.evaluation.sets.released import Pair

#: A pair and what is drawn with, to mixture, target and background.
Mix = Callable[[Pair, np.random.Generator], tuple[Audio, Audio, Audio]]
#: Quieter sounds than this (RMS) are as good as silence and have no level to match.
_SILENT = 1e-5
#: LUFS between which each clip of VGGSound's mixtures is drawn.
_LOUDNESS = (-35.0, -25.0)
_DETECTOR = "PANNs' Cnn14_DecisionLevelMax"


def mixing_of(bench: str, detector: Path | None = None) -> Mix:
    """How a set is mixed.

    Args:
        bench: A key of :data:`audiosep_training.evaluation.sets.recipes.RECIPES`.
        detector: Checkpoint of PANNs' Cnn14_DecisionLevelMax, for AudioSet.

    Raises:
        UsageError: AudioSet lacks the detector, another set has one, or a package is missing.
        CheckpointError: It is none.
    """
    if bench != "audioset":
        if detector is not None:
            raise UsageError(f"{bench} is made of whole clips; leave out --detector")
        return mix_loudness if bench == "vggsound" else mix_energy
    if detector is None:
        raise UsageError(
            "AudioSet's mixtures are of the two seconds in which a class is heard most surely, as "
            f"a detector tells; give the checkpoint of {_DETECTOR} with --detector"
        )
    return _anchored(detector)


def mix_energy(pair: Pair, rng: np.random.Generator) -> tuple[Audio, Audio, Audio]:
    """Both at the same energy: 0 dB."""
    target, background = _read(pair, rng)
    return mix_at(target, background, 0.0)


def mix_loudness(pair: Pair, rng: np.random.Generator) -> tuple[Audio, Audio, Audio]:
    """Each at a loudness of its own, drawn from −35…−25 LUFS: 0 dB on average."""
    target, background = _read(pair, rng)
    factors = []
    for recording, audio in ((pair.target, target), (pair.backgrounds[0], background)):
        loudness = integrated_loudness(audio, RATE)
        if not np.isfinite(loudness):
            raise AudioFileError(f"{recording.path} is silent")
        factors.append(float(10 ** ((rng.uniform(*_LOUDNESS) - loudness) / 20)))
    return mix_factors(target, background, (factors[0], factors[1]))


def _anchored(checkpoint: Path) -> Mix:
    """The two seconds of the target's class and of the background's, at the same energy."""
    with needed_for("AudioSet's mixtures", "export,train"):
        from audiosep_training.systems.uss.anchors import AnchorFinder
    finder = AnchorFinder(checkpoint)

    def mix(pair: Pair, rng: np.random.Generator) -> tuple[Audio, Audio, Audio]:
        sounds = []
        for recording, label in (
            (pair.target, pair.query),
            # Of a released table the background's classes are not known: its surest one counts.
            (pair.backgrounds[0], next(iter(pair.backgrounds[0].labels), "")),
        ):
            sounds.append(_checked(recording, finder.segment(_samples(recording), label)))
        return mix_at(sounds[0], sounds[1], 0.0)

    return mix


def _read(pair: Pair, rng: np.random.Generator) -> tuple[Audio, Audio]:
    """Target and background of one length: a longer background is cut, a shorter one repeats."""
    target = _samples(pair.target)
    background = np.concatenate([_samples(recording) for recording in pair.backgrounds])
    start = int(rng.integers(max(0, len(background) - len(target)) + 1))
    background = background[start : start + len(target)]
    _checked(pair.target, target)
    _checked(pair.backgrounds[0], background)
    return target, np.resize(background, len(target))


def _checked(recording: Recording, audio: Audio) -> Audio:
    if not audio.size or float(np.sqrt(np.mean(audio**2))) < _SILENT:
        raise AudioFileError(f"{recording.path} is silent")
    return audio


def _samples(recording: Recording) -> Audio:
    """(samples,) at 32 kHz, mono."""
    audio = read_sound(recording.path, RATE)[0][0]
    if recording.segment is None:
        return audio
    samples = SEGMENT_SECONDS * RATE
    return audio[recording.segment * samples : (recording.segment + 1) * samples]

"""Evaluation sets that are drawn from our own corpus: held-out mixtures, and noisy speech."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiosep_core.errors import AudioPathError, MetadataError
from audiosep_core.files.items import Item, MixtureAndTarget
from audiosep_training.corpus.labels import load_labels
from audiosep_training.corpus.store import CLIPS_FILE, SAMPLE_RATE, Clip, Corpus
from audiosep_training.data.mixing import mix_at
from audiosep_training.data.pairs import Mixture, held_out
from audiosep_training.evaluation.sets.layouts import SetOptions, stems

SNRS_DB = (0, 5, 10, 15)
#: Sound events that people make with their voices are no noise to a speech enhancer.
_VOICES = ("crowd", "groan of pain", "laughter", "scream")
_SHORTEST_SECONDS = 2.0


def corpus(options: SetOptions) -> Iterator[Item]:
    """0 dB mixtures of two classes of a split, grouped by the target's domain.

    ``options.data`` is a corpus, or what ``audiosep evaluate build corpus`` wrote of one. A
    corpus gives the same mixtures in the same order for the same seed, length and split, in
    whatever words they are asked for.
    """
    if not _is_corpus(options.data):
        yield from stems(options)
        return
    samples = round(options.seconds * SAMPLE_RATE)
    sounds = _open(options.data)
    mixtures = held_out(sounds, options.count, samples, options.seed, options.split)
    for number, (mixture, query) in enumerate(_possible(mixtures)):
        target = mixture.sources[0]
        if options.paraphrases:
            unheard = sounds.named(target.label).held_out
            if not unheard:
                continue
            query = unheard[number % len(unheard)]
        yield _item(number, target.domain, query, mixture.mixture, target.audio)


def absent(options: SetOptions) -> Iterator[Item]:
    """The mixtures of :func:`corpus`, each asked for what is not in it; grouped by what that is.

    A class is asked for that none of the mixture's could be taken for; the target is silence.
    """
    if not _is_corpus(options.data):
        yield from stems(options)
        return
    samples = round(options.seconds * SAMPLE_RATE)
    sounds = _open(options.data)
    asked = [sounds.named(label) for label in sounds.classes()]
    rng = np.random.default_rng(options.seed)
    mixtures = held_out(sounds, options.count, samples, options.seed, options.split)
    for number, (mixture, _) in enumerate(_possible(mixtures)):
        inside = {source.label for source in mixture.sources}
        # Music may hold any instrument.
        near = inside | {"music"}.union(*(sounds.named(label).confusable for label in inside))
        others = [sound for sound in asked if sound.name not in near]
        sound = others[rng.integers(len(others))]
        query = sound.phrases[0]
        yield _item(number, sound.domain, query, mixture.mixture, np.zeros_like(mixture.mixture))


def speech_enhancement(options: SetOptions) -> Iterator[Item]:
    """Held-out speakers in noise at 0, 5, 10 and 15 dB, grouped by that ratio.

    The noise is sound events of the test split without human voices, repeated where it is
    shorter; each speaker and each class of noise is drawn equally often. ``options.data`` is a
    corpus, or what ``audiosep evaluate build speech-enhancement`` wrote of one. The ratio is
    that of the mean powers over the mixture.
    """
    if not _is_corpus(options.data):
        yield from stems(options)
        return
    sounds = _open(options.data)
    speech: dict[str, list[Clip]] = defaultdict(list)
    noise: dict[str, list[Clip]] = defaultdict(list)
    for clip in sounds.clips:
        if clip.split != "test":
            continue
        if clip.domain == "speech" and clip.samples >= _SHORTEST_SECONDS * SAMPLE_RATE:
            speech[load_labels().speech_source(f"{clip.package}/{clip.path}")].append(clip)
        elif clip.domain == "sound events" and clip.label not in _VOICES:
            noise[clip.label].append(clip)
    if not speech or not noise:
        raise MetadataError(
            f"{options.data} holds no test clips of speech and of sound events; build it again"
        )
    samples = round(options.seconds * SAMPLE_RATE)
    rng = np.random.default_rng(options.seed)
    for number in range(options.count):
        snr = SNRS_DB[number % len(SNRS_DB)]
        target = _passage(sounds, speech, samples, rng)
        mixture, target, _ = mix_at(target, _passage(sounds, noise, samples, rng), -snr)
        yield _item(number, f"{snr} dB", options.query, mixture, target)


def _is_corpus(folder: Path) -> bool:
    return (folder / CLIPS_FILE).is_file()


def _open(folder: Path) -> Corpus:
    try:
        return Corpus(folder)
    except FileNotFoundError as error:
        raise AudioPathError(str(error)) from None
    except ValueError as error:
        raise MetadataError(str(error)) from None


def _possible(mixtures: Iterator[tuple[Mixture, str]]) -> Iterator[tuple[Mixture, str]]:
    try:
        yield from mixtures
    except ValueError as error:
        raise MetadataError(str(error)) from None


def _passage(
    corpus: Corpus, groups: dict[str, list[Clip]], samples: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A random stretch of a clip of a random group, repeated if the clip is shorter."""
    while True:
        clips = groups[list(groups)[rng.integers(len(groups))]]
        clip = clips[rng.integers(len(clips))]
        start = int(rng.integers(max(0, clip.samples - samples) + 1))
        audio = corpus.audio(clip, start, min(samples, clip.samples))
        if audio.any():
            return np.resize(audio, samples)


def _item(
    number: int,
    group: str,
    query: str,
    mixture: NDArray[np.float32],
    target: NDArray[np.float32],
) -> Item:
    return Item(
        f"{number:03d}", group, query, MixtureAndTarget(mixture[None], target[None], SAMPLE_RATE)
    )

"""Which recordings are mixed: the paper's recipe for each evaluation set.

Every set mixes recordings of other classes at 0 dB (Liu et al. 2023). How often a
target is used follows the released tables: ESC-50 once, VGGSound ten times (100 targets),
AudioCaps and Clotho once for each caption, MUSIC once with each other instrument, AudioSet ten
targets a class. A released table itself is also a recipe: it names both files of each mixture.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from audiosep_core.errors import MetadataError
from audiosep_core.query.vocabulary import read_vocabulary
from audiosep_training.datasets.recordings import (
    AudioFileIndex,
    Reader,
    Recording,
    check_found,
    read_audiocaps,
    read_audioset,
    read_clotho,
    read_esc50,
    read_music,
    read_vggsound,
)
from audiosep_training.evaluation.sets.layouts import ITEMS_PER_CLASS
from audiosep_training.evaluation.sets.released import (
    TARGET,
    Pair,
    is_released,
    released_clips,
    released_pairs,
)

_VGGSOUND_TARGETS = 100
_VGGSOUND_BACKGROUNDS = 10
_MOST_TRIES = 1000

Draw = Callable[[Sequence[Recording], np.random.Generator], Iterator[Pair]]


def other_class(
    target: Recording, recordings: Sequence[Recording], rng: np.random.Generator
) -> Recording:
    """A random recording that shares no label with the target, nor its file.

    Raises:
        MetadataError: There is hardly any.
    """
    for _ in range(_MOST_TRIES):
        other = recordings[int(rng.integers(len(recordings)))]
        if other.path != target.path and not set(other.labels) & set(target.labels):
            return other
    raise MetadataError(
        f"nothing can be mixed with {target.path}: {_MOST_TRIES} recordings in a row were of its "
        "class; the corpus needs more classes"
    )


def each_caption(
    recordings: Sequence[Recording], rng: np.random.Generator, backgrounds: int = 1
) -> Iterator[Pair]:
    """Every recording once for each of its captions, with other backgrounds each time."""
    for target in recordings:
        labels = " ".join(target.labels)
        for caption in target.captions:
            others = tuple(other_class(target, recordings, rng) for _ in range(backgrounds))
            yield Pair(target, others, caption, {"labels": labels})


def each_other_class(recordings: Sequence[Recording], rng: np.random.Generator) -> Iterator[Pair]:
    """Every recording once with a random one of each other class."""
    classes = _classes(recordings)
    for target in recordings:
        for label, others in classes.items():
            if label not in target.labels:
                other = others[int(rng.integers(len(others)))]
                yield Pair(target, (other,), target.captions[0])


def ten_targets_a_class(
    recordings: Sequence[Recording], rng: np.random.Generator
) -> Iterator[Pair]:
    """Up to ten targets of each of AudioSet's 527 classes, in the order of their indices."""
    classes = _classes(recordings)
    for index, label in enumerate(read_vocabulary("audioset")):
        some = classes.get(label, [])
        for position in rng.permutation(len(some))[:ITEMS_PER_CLASS].tolist():
            target = some[position]
            fields = {"class_id": str(index)}
            yield Pair(target, (other_class(target, recordings, rng),), label, fields)


def ten_backgrounds(recordings: Sequence[Recording], rng: np.random.Generator) -> Iterator[Pair]:
    """A hundred targets with ten backgrounds each; which hundred the paper has, its table says."""
    for position in rng.permutation(len(recordings))[:_VGGSOUND_TARGETS].tolist():
        target = recordings[position]
        for _ in range(_VGGSOUND_BACKGROUNDS):
            yield Pair(target, (other_class(target, recordings, rng),), target.captions[0])


def _classes(recordings: Sequence[Recording]) -> dict[str, list[Recording]]:
    classes: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        for label in recording.labels:
            classes[label].append(recording)
    return classes


@dataclasses.dataclass(frozen=True)
class SetRecipe:
    """How a set is made of a raw corpus.

    Attributes:
        columns: Queries in the set's table, the plain one first.
        backgrounds: Columns for the names of backgrounds.
        read: Reads the corpus; None where only a released table tells what to mix.
        draw: Draws the pairs.
    """

    columns: tuple[str, ...]
    read: Reader | None
    draw: Draw
    backgrounds: tuple[str, ...] = ("noise_wav",)


RECIPES: dict[str, SetRecipe] = {
    "audioset": SetRecipe(("caption",), read_audioset, ten_targets_a_class),
    "vggsound": SetRecipe(("caption",), read_vggsound, ten_backgrounds),
    "audiocaps": SetRecipe(("caption", "labels"), read_audiocaps, each_caption),
    # Two clips of at least 15 s cover any target of at most 30 s.
    "clotho": SetRecipe(
        ("caption",),
        read_clotho,
        functools.partial(each_caption, backgrounds=2),
        ("noise_wav1", "noise_wav2"),
    ),
    "esc50": SetRecipe(("caption",), read_esc50, each_caption),
    "music": SetRecipe(("caption",), read_music, each_other_class),
    "audiocaps-mini": SetRecipe(("label", "caption", "new_caption"), None, each_caption),
}


def draw_pairs(
    bench: str, index: AudioFileIndex, metadata: Path | None, rng: np.random.Generator
) -> Iterator[Pair]:
    """The pairs of a benchmark: those of a released table, or drawn from a raw corpus.

    Args:
        bench: A key of :data:`RECIPES`.
        index: The raw audio.
        metadata: A released table, the corpus' own, or None for the one beside the audio.
        rng: What is drawn with.

    Raises:
        AudioPathError: A table is missing, or none of the files that it names is there.
        MetadataError: A table is damaged, or the corpus is too small.
    """
    recipe = RECIPES[bench]
    if metadata is not None and is_released(metadata):
        if bench == "vggsound":
            return released_clips(index, metadata)
        return released_pairs(index, metadata, recipe.columns)
    if recipe.read is None:
        raise MetadataError(
            f"{bench} is made from a table with {', '.join(recipe.columns)}, {TARGET} and "
            f"{recipe.backgrounds[0]}; name it with --metadata"
        )
    return recipe.draw(check_found(index, recipe.read(index, metadata)), rng)

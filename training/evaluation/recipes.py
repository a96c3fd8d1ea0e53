"""Which recordings are mixed: the paper's recipe for each evaluation set.

Every set mixes two recordings of other classes at 0 dB (Liu et al. 2023, section IV). How often a
target is used follows the released tables: ESC-50 once, VGGSound ten times (100 targets),
AudioCaps and Clotho once for each caption, MUSIC once with each other instrument, AudioSet ten
targets a class. A released table itself is also a recipe: it names both files of each mixture.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from audiosep_core.errors import MetadataError
from audiosep_core.vocabulary import read_vocabulary
from training.evaluation.layouts import ITEMS_PER_CLASS
from training.recordings import (
    Reader,
    Recording,
    Shelf,
    read_audiocaps,
    read_audioset,
    read_clotho,
    read_esc50,
    read_music,
    read_vggsound,
)
from training.tables import read_table, table_columns

_VGGSOUND_TARGETS = 100
_VGGSOUND_BACKGROUNDS = 10
_MOST_TRIES = 1000
#: Joins the names of target and background in VGGSound's table.
JOINT = "+++"
#: Columns of released tables, the background's in either of two spellings.
_TARGET, _BACKGROUNDS = "src_wav", ("noise_wav", "noise_wav1")


@dataclasses.dataclass(frozen=True)
class Pair:
    """What is mixed.

    Attributes:
        target: What is asked for.
        background: A recording that shares no label with it.
        query: Caption or label of the target.
        fields: Further columns of the set's table.
    """

    target: Recording
    background: Recording
    query: str
    fields: dict[str, str] = dataclasses.field(default_factory=dict)


Draw = Callable[[Sequence[Recording], np.random.Generator], Iterator[Pair]]


def released_pairs(shelf: Shelf, table: Path, columns: Sequence[str]) -> Iterator[Pair]:
    """The pairs of a released table: the very mixtures that the paper evaluates on.

    Args:
        shelf: Where the raw files are; names like ``abc_3.wav`` may stand for a segment.
        table: With ``src_wav``, ``noise_wav`` and the columns.
        columns: Queries, the first of which is the pair's.

    Raises:
        MetadataError: A file is missing; the line and the field are named.
    """
    background = next(name for name in _BACKGROUNDS if name in table_columns(table))
    for row in read_table(table, [*columns, _TARGET, background]):
        found = []
        for column in (_TARGET, background):
            recording = shelf.recording(row.text(column))
            if recording is None:
                name = row.text(column)
                raise row.fault(column, f"names {name!r}, which is not below {shelf.folder}")
            found.append(recording)
        fields = {column: row.text(column) for column in columns}
        yield Pair(found[0], found[1], row.text(columns[0]), fields)


def released_clips(shelf: Shelf, table: Path) -> Iterator[Pair]:
    """The pairs of VGGSound's released table, whose ``file_id`` joins the names of two clips.

    Raises:
        MetadataError: A file is missing; the line and the field are named.
    """
    for row in read_table(table, ["file_id", "s0_text", "s1_text"]):
        found = []
        for name, column in zip(
            row.text("file_id").split(JOINT), ("s0_text", "s1_text"), strict=False
        ):
            path = shelf.find(name, f"Y{name}")
            if path is None:
                raise row.fault("file_id", f"names {name!r}, which is not below {shelf.folder}")
            found.append(Recording(path, (row.text(column),)))
        if len(found) != 2:
            raise row.fault("file_id", f"does not join two names with {JOINT!r}")
        yield Pair(found[0], found[1], row.text("s0_text"))


def is_released(table: Path | None) -> bool:
    """Whether a table names both files of each mixture."""
    if table is None or table.suffix.lower() != ".csv":
        return False
    columns = table_columns(table)
    pairs = _TARGET in columns and any(name in columns for name in _BACKGROUNDS)
    return pairs or "file_id" in columns


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


def each_caption(recordings: Sequence[Recording], rng: np.random.Generator) -> Iterator[Pair]:
    """Every recording once for each of its captions, with another background each time."""
    for target in recordings:
        labels = " ".join(target.labels)
        for caption in target.captions:
            yield Pair(target, other_class(target, recordings, rng), caption, {"labels": labels})


def each_other_class(recordings: Sequence[Recording], rng: np.random.Generator) -> Iterator[Pair]:
    """Every recording once with a random one of each other class."""
    classes = _classes(recordings)
    for target in recordings:
        for label, others in classes.items():
            if label not in target.labels:
                yield Pair(target, others[rng.integers(len(others))], target.captions[0])


def ten_targets_a_class(
    recordings: Sequence[Recording], rng: np.random.Generator
) -> Iterator[Pair]:
    """Up to ten targets of each of AudioSet's 527 classes, in the order of their indices."""
    classes = _classes(recordings)
    for index, label in enumerate(read_vocabulary("audioset")):
        some = classes.get(label, [])
        for place in rng.permutation(len(some))[:ITEMS_PER_CLASS].tolist():
            target = some[place]
            fields = {"class_id": str(index)}
            yield Pair(target, other_class(target, recordings, rng), label, fields)


def ten_backgrounds(recordings: Sequence[Recording], rng: np.random.Generator) -> Iterator[Pair]:
    """A hundred targets with ten backgrounds each.

    The paper's hundred were picked by ear for being clean; the released table names them.
    """
    for place in rng.permutation(len(recordings))[:_VGGSOUND_TARGETS].tolist():
        target = recordings[place]
        for _ in range(_VGGSOUND_BACKGROUNDS):
            yield Pair(target, other_class(target, recordings, rng), target.captions[0])


def _classes(recordings: Sequence[Recording]) -> dict[str, list[Recording]]:
    classes: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        for label in recording.labels:
            classes[label].append(recording)
    return classes


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a set is made of a raw corpus.

    Attributes:
        columns: Queries in the set's table, the plain one first.
        read: Reads the corpus; None where only a released table tells what to mix.
        draw: Draws the pairs.
    """

    columns: tuple[str, ...]
    read: Reader | None
    draw: Draw


RECIPES: dict[str, Recipe] = {
    "audioset": Recipe(("caption",), read_audioset, ten_targets_a_class),
    "vggsound": Recipe(("caption",), read_vggsound, ten_backgrounds),
    "audiocaps": Recipe(("caption", "labels"), read_audiocaps, each_caption),
    "clotho": Recipe(("caption",), read_clotho, each_caption),
    "esc50": Recipe(("caption",), read_esc50, each_caption),
    "music": Recipe(("caption",), read_music, each_other_class),
    "audiocaps-mini": Recipe(("label", "caption", "new_caption"), None, each_caption),
}


def draw_pairs(
    bench: str, shelf: Shelf, metadata: Path | None, rng: np.random.Generator
) -> Iterator[Pair]:
    """The pairs of a benchmark: those of a released table, or drawn from a raw corpus.

    Args:
        bench: A key of :data:`RECIPES`.
        shelf: The raw audio.
        metadata: A released table, the corpus' own, or None for the one beside the audio.
        rng: What is drawn with.

    Raises:
        AudioPathError: A table is missing.
        MetadataError: A table is damaged, or the corpus is too small.
    """
    recipe = RECIPES[bench]
    if metadata is not None and is_released(metadata):
        if bench == "vggsound":
            return released_clips(shelf, metadata)
        return released_pairs(shelf, metadata, recipe.columns)
    if recipe.read is None:
        raise MetadataError(
            f"{bench} is made from a table with {', '.join(recipe.columns)}, {_TARGET} and "
            f"{_BACKGROUNDS[0]}; name it with --metadata"
        )
    recordings = list(recipe.read(shelf, metadata))
    if not recordings:
        raise MetadataError(f"no file below {shelf.folder} is named in the corpus' table")
    return recipe.draw(recordings, rng)

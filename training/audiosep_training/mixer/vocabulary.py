"""Embeddings of all queries of all classes, and which classes must not meet."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiosep_core.atomic import replacing


@dataclasses.dataclass(frozen=True, eq=False)
class Phrasings:
    """Embeddings of the phrasings of several things, the same text stored once.

    Attributes:
        embeddings: (texts, condition_size) float16 of unit length.
        rows: (phrasings,) int32 into ``embeddings``.
        ranges: (things, 2) int32 into ``rows``: from, to.
    """

    embeddings: NDArray[np.float16]
    rows: NDArray[np.int32]
    ranges: NDArray[np.int32]


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
    """What a mixer knows of words.

    Attributes:
        labels: Names of the classes.
        classes: Their phrasings.
        families: The phrasings of families of classes.
        conflict: (classes, classes) bool, symmetric, true on its diagonal: which never meet.
        family: (classes, families) bool: which class is of which family.
    """

    labels: Sequence[str]
    classes: Phrasings
    families: Phrasings
    conflict: NDArray[np.bool_]
    family: NDArray[np.bool_]

    def save(self, path: Path) -> None:
        """Write to one ``.npz`` file."""
        parts = {
            f"{name}.{field.name}": getattr(phrasings, field.name)
            for name, phrasings in (("classes", self.classes), ("families", self.families))
            for field in dataclasses.fields(Phrasings)
        }
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file,
                labels=np.array(self.labels, dtype=np.str_),
                conflict=self.conflict,
                family=self.family,
                **parts,
            )

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """The inverse of :meth:`save`."""
        with np.load(path, allow_pickle=False) as stored:
            classes, families = (
                Phrasings(
                    *(stored[f"{name}.{field.name}"] for field in dataclasses.fields(Phrasings))
                )
                for name in ("classes", "families")
            )
            labels = [str(label) for label in stored["labels"]]
            return cls(labels, classes, families, stored["conflict"], stored["family"])

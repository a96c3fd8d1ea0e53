"""AudioSet's classes in captions, and clips drawn so that all classes come equally often."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from audiosep_core.query.vocabulary import read_vocabulary
from audiosep_training.data.batches import DataError

#: Numbers of AudioSet's classes by their names, in the order of AudioSet's own list.
CLASSES = {name: number for number, name in enumerate(read_vocabulary("audioset"))}
# What a number is drawn for; part of its seed.
_CLASS_ORDER, _CLIP_ORDER = 8, 9


def classes_in(caption: str) -> list[int]:
    """Classes that a caption of AudioSet names: ``"Speech, Male speech, man speaking"``.

    Names hold commas themselves; the longest that fits counts. What is no name is passed over.
    """
    words = caption.split(", ")
    found = []
    start = 0
    while start < len(words):
        end = next(
            (end for end in range(len(words), start, -1) if ", ".join(words[start:end]) in CLASSES),
            None,
        )
        if end is not None:
            found.append(CLASSES[", ".join(words[start:end])])
        start = end or start + 1
    return found


class ClassQueue:
    """Draws a class, then a clip of it; every class once before any comes again.

    So does USS' released code. Whatever is drawn depends on the seed and its number alone.

    Args:
        captions: Of all clips, as AudioSet's lists have them.
        seed: Of the run.

    Raises:
        DataError: No caption names a class.
    """

    def __init__(self, captions: Sequence[str], seed: int) -> None:
        rows: dict[int, list[int]] = defaultdict(list)
        for row, caption in enumerate(captions):
            for number in classes_in(caption):
                rows[number].append(row)
        if not rows:
            raise DataError(
                "no caption of the lists names a class of AudioSet, which data.balance draws by; "
                "write them with 'audiosep lists audioset'"
            )
        self._rows = {number: np.array(rows[number]) for number in sorted(rows)}
        self._numbers = np.array(list(self._rows))
        self._seed = seed

    def draw(self, number: int) -> tuple[int, int]:
        """Class and row of draw ``number``."""
        turn, position = divmod(number, len(self._numbers))
        drawn = int(self._permuted(self._numbers, _CLASS_ORDER, turn)[position])
        rows = self._rows[drawn]
        epoch, position = divmod(turn, len(rows))
        return drawn, int(self._permuted(rows, _CLIP_ORDER, drawn, epoch)[position])

    def rows(self, drawn: int) -> list[int]:
        """All clips of a class."""
        return self._rows[drawn].tolist()

    def _permuted(self, values: np.ndarray, *purpose: int) -> np.ndarray:
        return np.random.default_rng([self._seed, *purpose]).permutation(values)

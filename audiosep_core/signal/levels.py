"""Stems and mixture at their levels, which move at a sample."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from audiosep_core.signal.selection import Selection

#: Seconds over which a level moves, and one stem gives way to another.
FADE_SECONDS = 0.01
#: No condition is empty: the mixture goes by a key of its own.
_MIXTURE = b""


class Levels:
    """Mixes stems to rows; what is asked for changes from a sample on, within 10 ms.

    Every level moves by itself: one that a change does not touch goes on as it was, so that a stem
    which fades out has ended after the fade, whatever is changed meanwhile.

    Args:
        selection: What is asked for first.
        summed: Mix to one row, the target, instead of a row for every stem.
        sample_rate: In Hz.

    Attributes:
        fade: Samples over which a change happens.
        position: Samples that were mixed.
        rows: Rows without the residual.
        last: Where the last change begins; no other one can begin before.
    """

    def __init__(self, selection: Selection, summed: bool, sample_rate: int) -> None:
        self.fade = max(1, round(FADE_SECONDS * sample_rate))
        self.position = self.last = 0
        self.rows = selection.rows(summed)
        self.summed = summed
        self._changes: list[tuple[int, Selection]] = []
        self._replace(selection)

    def change(self, selection: Selection, position: int) -> None:
        """Ask for something else from a sample on, in place of what was to begin there or later.

        Before the first sample nothing fades.
        """
        self._changes = [change for change in self._changes if change[0] < position]
        if position <= 0:
            self._replace(selection)
        else:
            self._changes.append((position, selection))
        self.last = position

    def mix(
        self, stems: Mapping[bytes, NDArray[np.float32]], mixture: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The next samples.

        Args:
            stems: (channels, n) of every stem.
            mixture: (channels, n).

        Returns:
            (rows + 1, channels, n): the rows, and last the residual, the mixture less all rows.
        """
        rows = np.zeros((self.rows + 1, *mixture.shape), np.float32)
        count, done = mixture.shape[-1], 0
        while done < count:
            if self._changes and self._changes[0][0] <= self.position:
                self._begin(self._changes.pop(0)[1])
            turns = [at for at, _ in self._changes] + [
                end
                for level in self._levels.values()
                if (end := level.next_end(self.position, self.fade))
            ]
            stop = min([count, *(done + at - self.position for at in turns)])
            for key, level in self._levels.items():
                signal = (stems[key] if key else mixture)[:, done:stop]
                level.add(rows[:-1, :, done:stop], signal, self.position, self.fade)
            self.position += stop - done
            done = stop
            if turns:
                self._forget_silent()
        rows[-1] = mixture - rows[:-1].sum(0)
        return rows

    def _replace(self, selection: Selection) -> None:
        self._levels = {key: _Level(to, to) for key, to in self._weights(selection).items()}

    def _begin(self, selection: Selection) -> None:
        weights, nothing = self._weights(selection), np.zeros(self.rows, np.float32)
        for key in {**self._levels, **weights}:
            if key not in self._levels:
                self._levels[key] = _Level(nothing, nothing)
            self._levels[key].move(weights.get(key, nothing), self.position, self.fade)

    def _forget_silent(self) -> None:
        self._levels = {
            key: level
            for key, level in self._levels.items()
            if level.target.any() or level.next_end(self.position, self.fade) or key == _MIXTURE
        }

    def _weights(self, selection: Selection) -> dict[bytes, NDArray[np.float32]]:
        weights, mixture = selection.weights(self.summed)
        return {**weights, _MIXTURE: mixture}


class _Level:
    """The level of one signal in every row, (rows,) float32, on its way to a target."""

    def __init__(self, start: NDArray[np.float32], target: NDArray[np.float32]) -> None:
        self.target = target
        self._start = start
        #: Samples at which the moves of the rows began.
        self._begun = np.zeros(len(target), np.int64)

    def move(self, target: NDArray[np.float32], position: int, fade: int) -> None:
        """Go somewhere else from a sample on, from wherever it is; rows whose target stays do."""
        moved = target != self.target
        share = np.minimum((position - self._begun) / fade, 1).astype(np.float32)
        here = np.where(share < 1, self._start + share * (self.target - self._start), self.target)
        self._start = np.where(moved, here, self._start)
        self._begun = np.where(moved, position, self._begun)
        self.target = target

    def next_end(self, position: int, fade: int) -> int:
        """The sample at which the first move that is under way will be through; 0 if none is."""
        ends = (self._begun + fade)[self._start != self.target]
        return int(min(ends[ends > position], default=0))

    def add(
        self, rows: NDArray[np.float32], signal: NDArray[np.float32], position: int, fade: int
    ) -> None:
        """Add (channels, n) of the signal from a sample on, with no move ending in between."""
        for row, (start, target) in enumerate(zip(self._start, self.target, strict=True)):
            begun = position - int(self._begun[row])
            if start != target and begun < fade:
                share = (np.arange(begun + 1, begun + signal.shape[-1] + 1) / fade).astype("f4")
                rows[row] += (start + share * (target - start)) * signal
            elif target:
                rows[row] += target * signal

"""Stems and mixture at their levels, which move at a sample."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from audiosep_core.signal.selection import Selection

#: Seconds over which a level moves, and one stem gives way to another.
FADE_SECONDS = 0.01


class Levels:
    """Mixes stems to rows; what is asked for changes from a sample on, within 10 ms.

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
        #: Samples until the change under way is through.
        self._left = 0
        self._replace(selection)

    def change(self, selection: Selection, position: int) -> None:
        """Ask for something else from a sample on; before the first one nothing fades."""
        if position <= 0:
            self._changes.clear()
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
            stop = count
            if self._changes and self._changes[0][0] <= self.position:
                self._begin(self._changes.pop(0)[1])
                continue
            if self._changes:
                stop = min(stop, done + self._changes[0][0] - self.position)
            if self._left:
                stop = min(stop, done + self._left)
            self._fill(rows[:-1, :, done:stop], stems, mixture, slice(done, stop))
            self.position += stop - done
            self._left = max(0, self._left - (stop - done))
            done = stop
        rows[-1] = mixture - rows[:-1].sum(0)
        return rows

    def _replace(self, selection: Selection) -> None:
        self._from = self._to = self._weights(selection)
        self._left = 0

    def _begin(self, selection: Selection) -> None:
        """A change in the middle of another one goes on from where that one is."""
        here = dict(self._to)
        if self._left:
            share = np.float32(1 - self._left / self.fade)
            nothing = np.zeros(self.rows, np.float32)
            for key in {**self._from, **self._to}:
                old, new = self._from.get(key, nothing), self._to.get(key, nothing)
                here[key] = old + share * (new - old)
        self._from, self._to, self._left = here, self._weights(selection), self.fade

    def _weights(self, selection: Selection) -> dict[bytes, NDArray[np.float32]]:
        weights, mixture = selection.weights(self.summed)
        # No condition is empty: the mixture goes by a key of its own.
        return {**weights, b"": mixture}

    def _fill(
        self,
        rows: NDArray[np.float32],
        stems: Mapping[bytes, NDArray[np.float32]],
        mixture: NDArray[np.float32],
        span: slice,
    ) -> None:
        count = rows.shape[-1]
        nothing = np.zeros(self.rows, np.float32)
        begun = self.fade - self._left
        share = ((np.arange(begun, begun + count) + 1) / self.fade).astype(np.float32)
        for key in {**self._from, **self._to} if self._left else self._to:
            old, new = self._from.get(key, nothing), self._to.get(key, nothing)
            signal = (stems[key] if key else mixture)[:, span]
            for row in range(self.rows):
                if self._left and old[row] != new[row]:
                    rows[row] += (old[row] + share * (new[row] - old[row])) * signal
                elif new[row]:
                    rows[row] += new[row] * signal

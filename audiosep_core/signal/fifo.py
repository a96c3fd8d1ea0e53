"""A first-in-first-out buffer of samples or frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Fifo:
    """Holds arrays of shape ``(*lead, n, *trail)``; grows to the largest fill, then stays.

    Args:
        lead: Axes before time, (channels,) for audio.
        trail: Axes behind time, (bins,) for spectra.
        dtype: Of the values.
    """

    def __init__(
        self,
        lead: tuple[int, ...],
        trail: tuple[int, ...] = (),
        dtype: DTypeLike = np.float32,
    ) -> None:
        self._lead = lead
        self._trail = trail
        self._axis = len(lead)
        self._all = (slice(None),) * len(lead)
        self._data = np.zeros((*lead, 64, *trail), dtype)
        self._start = 0
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def push(self, values: NDArray) -> None:
        """Append ``(*lead, n, *trail)``."""
        count = values.shape[self._axis]
        end = self._end + count
        if end > self._data.shape[self._axis]:
            self._make_room(count)
            end = self._end + count
        self._data[(*self._all, slice(self._end, end))] = values
        self._end = end

    def push_zeros(self, count: int) -> None:
        """Append silence."""
        self.push(np.zeros((*self._lead, count, *self._trail), self._data.dtype))

    def peek(self, count: int) -> NDArray:
        """The first ``count`` as a view, valid until the next push."""
        return self._view(self._start, self._start + count)

    def pop(self, count: int) -> NDArray:
        """Remove the first ``count`` and return them as a copy.

        Raises:
            ValueError: The buffer holds fewer.
        """
        values = self.peek(count).copy()
        self.drop(count)
        return values

    def drop(self, count: int) -> None:
        """Remove the first ``count``.

        Raises:
            ValueError: The buffer holds fewer.
        """
        if count > len(self):
            raise ValueError(f"cannot take {count} from a buffer that holds {len(self)}")
        self._start += count

    def _view(self, start: int, end: int) -> NDArray:
        return self._data[(*self._all, slice(start, end))]

    def _make_room(self, count: int) -> None:
        held = len(self)
        capacity = self._data.shape[self._axis]
        kept = self.peek(held).copy()
        # At most half full after moving down: room for many pushes until the next move.
        if capacity < 2 * (held + count):
            while capacity < 2 * (held + count):
                capacity *= 2
            self._data = np.zeros((*self._lead, capacity, *self._trail), self._data.dtype)
        self._start, self._end = 0, held
        self._view(0, held)[...] = kept

"""What is asked of the network when: selections, frame by frame, one taking over from another."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from audiosep_core.signal.selection import Factors, Selection, StemFactors


@dataclasses.dataclass(frozen=True)
class Transition:
    """A selection that takes over at a sample, in frames.

    A stem that comes or goes is shaped as its own selection has it: with its strength, its negative
    queries and the stems that it shares the mixture with.

    Attributes:
        selection: What takes over.
        at: The sample.
        touches: The first frame that reaches past the sample: the new stems begin with it.
        heard: The first frame whose middle lies behind it: with it the masks of stems that stay
            change to the new strength and negative queries, and share the mixture with the new
            stems. As frames overlap, the sound has half changed within half a frame of the sample.
        released: The first frame that lies behind the fade: stems that are asked for no longer
            have ended before it.
    """

    selection: Selection
    at: int
    touches: int
    heard: int
    released: int


@dataclasses.dataclass(eq=False)
class _Part:
    selection: Selection
    at: float = -math.inf
    touches: float = -math.inf
    heard: float = -math.inf
    released: float = math.inf


class Timeline:
    """Selections in the order in which they take over.

    Args:
        selection: The first one.
    """

    def __init__(self, selection: Selection) -> None:
        self._parts = [_Part(selection)]

    @property
    def last(self) -> Selection:
        """What is asked for in the end."""
        return self._parts[-1].selection

    def replace(self, selection: Selection) -> None:
        """Ask for nothing else than this one, from the start."""
        self._parts = [_Part(selection)]

    def append(self, change: Transition) -> None:
        """Let another one take over, not before the last one.

        At the same sample, with no frame of the last one made, it takes that one's place: what is
        changed in two steps sounds like what is changed in one, in whatever order.
        """
        last = self._parts[-1]
        if (last.at, last.touches, last.heard) == (change.at, change.touches, change.heard):
            last.selection = change.selection
            return
        last.released = change.released
        self._parts.append(_Part(change.selection, change.at, change.touches, change.heard))

    def waiting(self, heard: int, first: int) -> int | None:
        """The sample of the last change, if another one at a frame can still take its place.

        Args:
            heard: The frame with which the other one would take over; the last one does, too.
            first: The frame that is made next: no frame of the last one was.
        """
        last = self._parts[-1]
        return int(last.at) if last.heard == heard and last.touches >= first else None

    def forget(self, before: int) -> None:
        """No frame before this one will be asked for."""
        parts = self._parts
        while len(parts) > 1 and parts[0].released <= before and parts[1].heard <= before:
            parts.pop(0)

    def asked(self, first: int, end: int) -> dict[bytes, NDArray[np.float32]]:
        """What the network is asked for these frames, every condition once."""
        conditions: dict[bytes, NDArray[np.float32]] = {}
        for part in self._alive(first, end):
            conditions |= part.selection.asked
        return conditions

    def factors(
        self, masks: Mapping[bytes, NDArray[np.float32]], first: int, frames: int
    ) -> StemFactors:
        """Factors of all stems of some frames.

        Args:
            masks: (3, frames, bins) of every condition that :meth:`asked` tells.
            first: Number of the first frame.
            frames: How many.
        """
        end = first + frames
        stems = self.stems(first, end)
        heard = [part for part in self._parts if part.heard < end]
        starts = [max(0, int(max(part.heard, first)) - first) for part in heard]
        pieces: dict[bytes, list[Factors]] = {key: [] for key in stems}
        for part, (start, stop) in zip(heard, itertools.pairwise([*starts, frames]), strict=True):
            if start == stop:
                continue
            taken = {key: mask[:, start:stop] for key, mask in masks.items()}
            made = self._shaped(taken, part, first, end)
            for key in stems:
                pieces[key].append(made[key])
        return {key: _joined(parts) for key, parts in pieces.items()}

    def stems(self, first: int, end: int) -> list[bytes]:
        """The keys of the stems that :meth:`factors` tells of."""
        alive = self._alive(first, end)
        return list(dict.fromkeys(key for part in alive for key in part.selection.keys))

    def passing(self, first: int, end: int, bins: int) -> NDArray[np.float32]:
        """Masks for as long as nothing is known: the mixture passes.

        The stems share it, and negative queries take nothing out of it.

        Returns:
            (conditions, 3, 1, bins), in the order of :meth:`asked`.
        """
        stems = self.stems(first, end)
        asked = self.asked(first, end)
        masks = np.zeros((len(asked), 3, 1, bins), np.float32)
        masks[:, 1] = 1
        for row, key in enumerate(asked):
            # Without plain masks, stems that sum to more than the mixture share it by themselves.
            share = 1 / len(stems) if self.last.plain_masks else 1
            masks[row, 0] = share if key in stems else 0
        return masks

    def standing_in(
        self, first: int, end: int, known: list[bytes], masks: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Masks where those of the network are late, from the last ones that it gave.

        A stem that is new goes on with what was heard before; what is to be taken out anew is not
        known yet, and nothing is.

        Args:
            first: Number of the first frame.
            end: Number of the frame behind the last one.
            known: The conditions of ``masks``.
            masks: (conditions, 3, n, bins).

        Returns:
            (conditions, 3, n, bins), in the order of :meth:`asked`.
        """
        asked, stems = self.asked(first, end), self.stems(first, end)
        made: NDArray[np.float32] = masks[
            [known.index(key) if key in known else 0 for key in asked]
        ]
        for row, key in enumerate(asked):
            if key not in known and key not in stems:
                made[row, 0] = 0
        return made

    def _shaped(
        self, masks: Mapping[bytes, NDArray[np.float32]], part: _Part, first: int, end: int
    ) -> StemFactors:
        """All stems as one part has them.

        Those that it lacks, which fade in or out, are as the nearest part has them.
        """
        here = self._parts.index(part)
        alive = self._alive(first, end)
        made: StemFactors = {}
        for other in sorted(alive, key=lambda other: abs(self._parts.index(other) - here)):
            if not made.keys() >= set(other.selection.keys):
                made = other.selection.shaped(masks) | made
        return made

    def _alive(self, first: int, end: int) -> list[_Part]:
        return [part for part in self._parts if part.touches < end and part.released > first]


def _joined(parts: list[Factors]) -> Factors:
    if len(parts) == 1:
        return parts[0]
    factors, tops = zip(*parts, strict=True)
    return np.concatenate(factors), np.concatenate(tops)

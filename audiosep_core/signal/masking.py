"""From magnitude frames to the factors of the stems: windows and the network."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audiosep_core.model.config import MAGNITUDE_FLOOR, PADDING, SeparatorConfig
from audiosep_core.signal.fifo import Fifo
from audiosep_core.signal.selection import Selection, StemFactors
from audiosep_core.signal.timeline import Timeline, Transition
from audiosep_core.signal.windows import Windows


class Estimator(Protocol):
    """What gives masks: the network in :mod:`audiosep_core.runtime`, or a stand-in for it."""

    config: SeparatorConfig

    def masks(
        self, magnitude: NDArray[np.float32], conditions: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:
        """(frames, bins) and (queries, condition_size) to (queries, 3, frames, bins).

        None where they would come too late: masks of the call before stand in for them.
        """

    def prepare(self, rows: int, frames: int) -> None:
        """Make calls of so many queries and frames as quick as they will be."""


class Masker:
    """Collects magnitude frames into windows and runs the network on each.

    Every frame's mask comes from exactly one window, in whose middle it lies; at the borders
    of hops the overlap of the STFT's frames is the cross-fade, and it sums to one.

    Args:
        estimator: The network.
        selection: What is separated first.
        windows: Grouping of frames.
        lead: Frames by which the first hop is short, so that hops lie on a grid.

    Attributes:
        next: Number of the frame whose factors come next.
    """

    def __init__(
        self, estimator: Estimator, selection: Selection, windows: Windows, lead: int = 0
    ) -> None:
        self.next = 0
        self._estimator = estimator
        self._timeline = Timeline(selection)
        self._windows = windows
        self._magnitude = Fifo((), (estimator.config.bins,))
        self._past = self._lead = lead
        if lead:
            self._magnitude.push(np.full((lead, estimator.config.bins), PADDING, np.float32))
        #: Masks that the last call made for the frames to come, (conditions, 3, frames, bins),
        #: and the conditions; what lies behind its look-ahead has the last of them.
        self._ahead: tuple[list[bytes], NDArray[np.float32]] | None = None

    def replace(self, selection: Selection) -> None:
        """Separate something else from the start on; before the first hop only."""
        self._timeline.replace(selection)

    def change(self, change: Transition) -> None:
        """Separate something else, from :attr:`next` on at the earliest."""
        self._timeline.append(change)

    def waiting(self, heard: int) -> int | None:
        """The sample of the last change, if it takes over with this frame and waits for it."""
        return self._timeline.waiting(heard, self.next)

    @property
    def last(self) -> Selection:
        """What is asked for in the end."""
        return self._timeline.last

    def push(self, magnitude: NDArray[np.float32], last: bool) -> list[StemFactors]:
        """(frames, bins) in; the factors of the stems of each completed hop out."""
        self._magnitude.push(magnitude)
        hop, ahead = self._windows.hop, self._windows.look_ahead
        factors = []
        while (left := len(self._magnitude) - self._past) > 0:
            taken = min(hop - self._lead, left)
            short = left < hop - self._lead + ahead
            if short and not last:
                break
            self._lead = 0
            factors.append(self._run(taken, min(taken + ahead, left), short))
        return factors

    def _run(self, hop: int, needed: int, last: bool) -> StemFactors:
        """The factors of ``hop`` frames; ``needed`` counts them and the look-ahead."""
        past = self._past
        magnitude = self._magnitude.peek(past + needed)
        if magnitude[past : past + hop].max() <= MAGNITUDE_FLOOR:
            factors = self._factors(None, hop)
        else:
            missing = -len(magnitude) % self._estimator.config.frame_multiple
            # A window is cut short at the ends of the signal and filled up where it is cut.
            before = 0 if last else missing
            if missing:
                padding = ((before, missing - before), (0, 0))
                magnitude = np.pad(magnitude, padding, constant_values=PADDING)
            factors = self._factors(magnitude, hop, before + past)
        surplus = max(0, past + hop - self._windows.context)
        self._magnitude.drop(surplus)
        self._past = past + hop - surplus
        self.next += hop
        self._timeline.forget(self.next)
        return factors

    def _factors(
        self, magnitude: NDArray[np.float32] | None, hop: int, start: int = 0
    ) -> StemFactors:
        """Factors of the frames from ``start``; without a magnitude, those of silence."""
        asked = self._timeline.asked(self.next, self.next + hop)
        if magnitude is None:
            # Whatever the network says of silence, nothing is heard of it.
            masks = np.zeros((len(asked), 3, hop, self._estimator.config.bins), np.float32)
            self._keep(self._ahead, hop)
        else:
            made = self._estimator.masks(magnitude, np.stack(list(asked.values())))
            if made is None:
                masks = self._stand_in(hop)
            else:
                masks = made[:, :, start : start + hop]
                self._keep((list(asked), made[:, :, start:]), hop)
        return self._timeline.factors(dict(zip(asked, masks, strict=True)), self.next, hop)

    def _stand_in(self, hop: int) -> NDArray[np.float32]:
        """Masks of a hop whose own are late."""
        end = self.next + hop
        if self._ahead is None:
            return np.repeat(
                self._timeline.passing(self.next, end, self._estimator.config.bins), hop, 2
            )
        known, ahead = self._ahead
        self._keep(self._ahead, hop)
        held = ahead[:, :, np.minimum(np.arange(hop), ahead.shape[2] - 1)]
        return self._timeline.standing_in(self.next, end, known, held)

    def _keep(self, ahead: tuple[list[bytes], NDArray[np.float32]] | None, hop: int) -> None:
        """Masks from this hop on, kept from the next one on; at least the last of them."""
        if ahead is not None:
            known, masks = ahead
            ahead = known, masks[:, :, min(hop, masks.shape[2] - 1) :]
        self._ahead = ahead

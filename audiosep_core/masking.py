"""From magnitude frames to the factors of the stems: windows, the network, changes of queries."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audiosep_core.config import MAGNITUDE_FLOOR, PADDING, SeparatorConfig
from audiosep_core.fifo import Fifo
from audiosep_core.selection import Selection
from audiosep_core.windows import Windows

#: Time over which one selection gives way to the next.
_RAMP_SECONDS = 0.05

#: Factors (rows, frames, bins) and gains above the model's band (rows, frames).
Factors = tuple[NDArray[np.complex64], NDArray[np.float32]]


class Estimator(Protocol):
    """What gives masks: :class:`audiosep_core.session.MaskEstimator`, or a stand-in for it."""

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
        summed: Make the target of all stems instead of every stem.
    """

    def __init__(
        self, estimator: Estimator, selection: Selection, windows: Windows, summed: bool
    ) -> None:
        self._estimator = estimator
        self._selection = selection
        self._next = selection
        self._windows = windows
        self._summed = summed
        self._magnitude = Fifo((), (estimator.config.bins,))
        self._past = 0
        #: Masks that the last call made for the frames to come, (queries + negatives, 3, frames,
        #: bins); what lies behind its look-ahead has the last of them.
        self._ahead: NDArray[np.float32] | None = None
        config = estimator.config
        self._ramp = max(1, round(_RAMP_SECONDS * config.sample_rate / config.hop))

    def select(self, selection: Selection) -> None:
        """Separate something else from the next hop on.

        Raises:
            ValueError: The number of stems would change.
        """
        rows, before = selection.rows(self._summed), self._selection.rows(self._summed)
        if rows != before:
            raise ValueError(
                f"this stream has {before} stems, {rows} were asked for; start a new one"
            )
        self._next = selection

    def push(self, magnitude: NDArray[np.float32], last: bool) -> list[Factors]:
        """(frames, bins) in; the factors of each completed hop out."""
        self._magnitude.push(magnitude)
        hop, ahead = self._windows.hop, self._windows.look_ahead
        factors = []
        while len(self._magnitude) - self._past >= hop + ahead:
            factors.append(self._run(hop, hop + ahead))
        while last and len(self._magnitude) > self._past:
            left = len(self._magnitude) - self._past
            factors.append(self._run(min(hop, left), min(hop + ahead, left), last=True))
        return factors

    def _run(self, hop: int, needed: int, last: bool = False) -> Factors:
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
        return factors

    def _factors(self, magnitude: NDArray[np.float32] | None, hop: int, start: int = 0) -> Factors:
        """Factors of the frames from ``start``; without a magnitude, those of silence."""
        old, new = self._selection, self._next
        conditions = new.all_conditions
        if new is not old:
            conditions = np.concatenate([conditions, old.all_conditions])
        count = len(new.all_conditions)
        if magnitude is None:
            # Whatever the network says of silence, nothing is heard of it.
            masks = np.zeros((len(conditions), 3, hop, self._estimator.config.bins), np.float32)
            self._keep(self._ahead if new is old else None, hop)
        else:
            made = self._estimator.masks(magnitude, conditions)
            if made is None:
                return self._stand_in(hop)
            masks = made[:, :, start : start + hop]
            self._keep(made[:count, :, start:], hop)
        self._selection = new
        factors, top = new.arrange(masks[:count], self._summed)
        if new is not old:
            fading = min(self._ramp, hop)
            share = (np.arange(fading, 0, -1) / (fading + 1)).astype(np.float32)
            past, past_top = old.arrange(masks[count:, :, :fading], self._summed)
            factors[:, :fading] += share[:, None] * (past - factors[:, :fading])
            top[:, :fading] += share * (past_top - top[:, :fading])
        return factors, top

    def _stand_in(self, hop: int) -> Factors:
        """Factors of a hop whose masks are late; a change of queries waits for the next."""
        selection, ahead = self._selection, self._ahead
        if ahead is None:
            return selection.all_pass(hop, self._estimator.config.bins, self._summed)
        held = np.minimum(np.arange(hop), ahead.shape[2] - 1)
        self._keep(ahead, hop)
        return selection.arrange(ahead[:, :, held], self._summed)

    def _keep(self, masks: NDArray[np.float32] | None, hop: int) -> None:
        """Masks from this hop on, kept from the next one on; at least the last of them."""
        self._ahead = None if masks is None else masks[:, :, min(hop, masks.shape[2] - 1) :]

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
    ) -> NDArray[np.float32]:
        """(frames, bins) and (queries, condition_size) to (queries, 3, frames, bins)."""

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
        self._selection = new
        conditions = new.all_conditions
        if new is not old:
            conditions = np.concatenate([conditions, old.all_conditions])
        if magnitude is None:
            # Whatever the network says of silence, nothing is heard of it.
            masks = np.zeros((len(conditions), 3, hop, self._estimator.config.bins), np.float32)
        else:
            masks = self._estimator.masks(magnitude, conditions)[:, :, start : start + hop]
        count = len(new.conditions) + len(new.negative)
        factors, top = new.arrange(masks[:count], self._summed)
        if new is not old:
            fading = min(self._ramp, hop)
            share = (np.arange(fading, 0, -1) / (fading + 1)).astype(np.float32)
            past, past_top = old.arrange(masks[count:, :, :fading], self._summed)
            factors[:, :fading] += share[:, None] * (past - factors[:, :fading])
            top[:, :fading] += share * (past_top - top[:, :fading])
        return factors, top

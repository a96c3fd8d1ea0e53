"""From magnitude frames to the factors of the stems, with a network that remembers.

The counterpart of :mod:`audiosep_core.signal.masking` for streaming networks: each frame goes
through the network once, in steps, and the network's state is handed from step to step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audiosep_core.model.state import NetworkState
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.signal.fifo import Fifo
from audiosep_core.signal.selection import Selection, StemFactors
from audiosep_core.signal.timeline import Timeline, Transition

#: Seconds of frames that a network which fell behind still catches up with.
_MOST_OWED_SECONDS = 2.0


class StepEstimator(Protocol):
    """What gives masks step by step: the network in :mod:`audiosep_core.runtime`."""

    config: StreamingConfig

    def start(self, conditions: NDArray[np.float32]) -> NetworkState:
        """The state of queries (queries, condition_size) that nothing was heard of yet."""

    def prepare(self, rows: int, frames: int) -> None:
        """Make calls of so many queries and frames as quick as they will be."""

    def step(
        self, magnitude: NDArray[np.float32], state: NetworkState
    ) -> tuple[NDArray[np.float32], NetworkState] | None:
        """Frames through the network.

        Args:
            magnitude: (frames, bins) at a normal level, frames a multiple of ``step_frames``.
            state: After the frames before.

        Returns:
            Masks (queries, 3, frames, bins), each row late by the look-ahead, and the state
            after them; None where they would come too late. The state given is never changed.
        """


class StepMasker:
    """Runs the network step by step and turns its masks into factors.

    The queries of a new selection start to listen with the step in which the first frame lies
    that is heard at its sample, and the old ones are kept until they have faded. Queries that both
    have in common are asked once.

    Args:
        estimator: The network.
        selection: What is separated first.
        call_frames: Frames of one call at most, a multiple of ``step_frames``. Equal calls give
            equal bits, so a live stream takes one step a call, a file many.

    Attributes:
        given: Number of the frame whose factors come next.
    """

    def __init__(self, estimator: StepEstimator, selection: Selection, call_frames: int) -> None:
        config = estimator.config
        self.given = 0
        self._estimator = estimator
        self._step, self._call = config.step_frames, call_frames
        self._look_ahead = config.look_ahead
        self._most_owed = round(_MOST_OWED_SECONDS * config.frame_rate) // self._step * self._step
        self._timeline = Timeline(selection)
        self._keys: list[bytes] = []
        self._state: NetworkState | None = None
        self._magnitude = Fifo((), (config.bins,))
        #: Frames at the start of ``_magnitude`` whose factors were given without the network.
        self._owed = 0
        #: Frames that calls were made for.
        self._called = 0
        #: The last mask of each query, which holds while the network is late.
        self._last: NDArray[np.float32] | None = None
        self._keep(0, self._step)

    @property
    def next(self) -> int:
        """Number of the frame that the network takes next; queries start to listen there."""
        return self._called

    @property
    def last(self) -> Selection:
        """What is asked for in the end."""
        return self._timeline.last

    def replace(self, selection: Selection) -> None:
        """Separate something else from the start on; before the first step only."""
        self._timeline.replace(selection)
        self._keep(0, self._step)

    def change(self, change: Transition) -> None:
        """Separate something else, with frames from :attr:`next` on at the earliest."""
        self._timeline.append(change)

    def waiting(self, heard: int) -> int | None:
        """The sample of the last change, if it takes over with this frame and waits for it."""
        return self._timeline.waiting(heard, self.next)

    def memory(self) -> dict[bytes, NDArray[np.float32]] | None:
        """What the network remembers of every condition, by its key; None where it owes frames."""
        if len(self._magnitude) or self._state is None:
            return None
        return dict(zip(self._keys, self._state.memory(), strict=True))

    def remember(self, memory: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Go on with what a network of another stream remembers, as :meth:`memory` gives it.

        Conditions that it does not know go on as they are.

        Raises:
            ValueError: It is of another network.
        """
        assert self._state is not None
        own = self._state.memory()
        if any(len(row) != own.shape[1] for row in memory.values()):
            raise ValueError(f"what is to be remembered is not {own.shape[1]} values a query")
        rows = [memory.get(key, row) for key, row in zip(self._keys, own, strict=True)]
        self._state = self._state.remembering(np.stack(rows))

    def push(self, magnitude: NDArray[np.float32]) -> list[tuple[int, StemFactors]]:
        """(frames, bins) at a normal level in; the factors of the frames that follow out.

        Factors are late by the look-ahead and by the frames that no step is complete with.

        Returns:
            For every call, the number of the first frame and the factors of the stems.
        """
        self._magnitude.push(magnitude)
        made = []
        while len(self._magnitude) - self._owed >= self._step:
            new = len(self._magnitude) - self._owed
            given = self._advance(min(new // self._step * self._step, self._call))
            if given is not None:
                made.append(given)
        return made

    def _advance(self, new: int) -> tuple[int, StemFactors] | None:
        """Bring ``new`` more frames through the network, and those that it still owes."""
        first = self._called - self._look_ahead
        self._keep(max(first, 0), self._called + new)
        assert self._state is not None
        result = self._estimator.step(self._magnitude.peek(self._owed + new), self._state)
        if result is None:
            self._owed += new
            if self._owed > self._most_owed:
                # Beyond this it starts anew, as at the start of a stream.
                self._magnitude.drop(self._owed)
                self._owed = 0
                self._state = self._estimator.start(self._state.conditions)
            masks = self._held(first, new)
        else:
            masks, self._state = result
            self._last = masks[:, :, -1:].copy()
            self._magnitude.drop(self._owed + new)
            masks = masks[:, :, self._owed :]
            self._owed = 0
        self._called += new
        if first < 0:
            masks = masks[:, :, -first:]
        frames = masks.shape[2]
        if not frames:
            return None
        first = max(first, 0)
        factors = self._timeline.factors(dict(zip(self._keys, masks, strict=True)), first, frames)
        self.given = first + frames
        self._timeline.forget(self.given)
        return first, factors

    def _held(self, first: int, frames: int) -> NDArray[np.float32]:
        last = self._last
        if last is None:
            end = self._called + frames
            last = self._timeline.passing(max(first, 0), end, self._estimator.config.bins)
        return np.repeat(last, frames, 2)

    def _keep(self, first: int, end: int) -> None:
        """Ask the queries of these frames: new ones start to listen, others are forgotten."""
        asked = self._timeline.asked(first, end)
        if self._keys == list(asked):
            return
        fresh = [condition for key, condition in asked.items() if key not in self._keys]
        states = [] if self._state is None else [self._state]
        if fresh:
            states.append(self._estimator.start(np.stack(fresh)))
        keys = [*self._keys, *(key for key in asked if key not in self._keys)]
        rows = [keys.index(key) for key in asked]
        self._state = NetworkState.joined(states).picked(rows)
        if self._last is not None:
            self._last = self._timeline.standing_in(first, end, self._keys, self._last)
        self._keys = list(asked)

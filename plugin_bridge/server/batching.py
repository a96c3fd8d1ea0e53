"""One thread that runs the network for many streams: earliest deadline first, in batches."""

from __future__ import annotations

import collections
import math
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiosep_core.model.config import SeparatorConfig
from audiosep_core.model.state import NetworkState
from audiosep_core.runtime.session import MaskEstimator
from audiosep_core.runtime.steps import StepNetwork
from plugin_bridge.server.figures import Histogram

#: Weight of the newest call in the running estimate of what a frame of a window costs.
_NEWEST = 0.2
#: That a call under way is waited for when a server ends.
_CLOSE_SECONDS = 0.5


class Ticket:
    """A window on its way through the network.

    Args:
        magnitude: (frames, bins).
        asked: (queries, condition_size), or of a streaming network the state before the frames.
        deadline: When its masks are of use at the latest, on the clock of time.monotonic.
    """

    def __init__(
        self,
        magnitude: NDArray[np.float32],
        asked: NDArray[np.float32] | NetworkState,
        deadline: float,
    ) -> None:
        self.magnitude = magnitude
        self.asked = asked
        self.deadline = deadline
        self.answer: Any = None
        self.error: Exception | None = None
        self._done = threading.Event()

    @property
    def rows(self) -> int:
        """Queries."""
        asked = self.asked
        return len(asked.conditions if isinstance(asked, NetworkState) else asked)

    @property
    def frames(self) -> int:
        """Frames of the window."""
        return self.magnitude.shape[0]

    def wait(self) -> Any:
        """Masks, of a streaming network with its next state; None once the deadline has passed.

        Raises:
            Exception: What the network raised.
        """
        left = None if math.isinf(self.deadline) else max(0.0, self.deadline - time.monotonic())
        if not self._done.wait(left):
            return None
        if self.error is not None:
            raise self.error
        return self.answer

    def finish(self, answer: Any, error: Exception | None = None) -> None:
        """Wake who waits."""
        self.answer, self.error = answer, error
        self._done.set()


class Batcher:
    """Runs windows that come from many threads.

    A call takes the window with the earliest deadline, and with it those of the same length
    that are waiting, as long as that makes nobody late. Windows whose deadline has passed are
    dropped: nobody waits for them any longer.

    Args:
        estimator: The network.
        most_frames: Windows × queries × frames in one call; a larger window goes alone.
        name: Of the thread.
    """

    def __init__(self, estimator: MaskEstimator | StepNetwork, most_frames: int, name: str) -> None:
        self._estimator = estimator
        self._most_frames = most_frames
        self._waiting: collections.deque[Ticket] = collections.deque()
        self._changed = threading.Condition()
        self._closing = False
        self._frame_seconds = 0.0
        #: Seconds spent in the network, calls, windows in them, and windows dropped.
        self.busy_seconds = 0.0
        self.calls = 0
        self.windows = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, ticket: Ticket) -> None:
        """Have a window computed."""
        with self._changed:
            if self._closing:
                ticket.finish(None)
                return
            self._waiting.append(ticket)
            self._changed.notify()

    def close(self) -> None:
        """Drop what is waiting and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        # A call that is under way ends with the process.
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if self._closing:
                    for ticket in self._waiting:
                        ticket.finish(None)
                    return
                batch = self._choose(time.monotonic())
            if batch:
                self._call(batch)

    def _choose(self, now: float) -> list[Ticket]:
        """Take the windows of the next call out of those that wait."""
        alive = [ticket for ticket in self._waiting if ticket.deadline > now]
        self.dropped += len(self._waiting) - len(alive)
        # Sorting keeps the order of arrival among equals.
        alive.sort(key=lambda ticket: ticket.deadline)
        batch: list[Ticket] = []
        rest: list[Ticket] = []
        rows = 0
        for ticket in alive:
            cost = (rows + ticket.rows) * ticket.frames * self._frame_seconds
            fits = not batch or (
                ticket.frames == batch[0].frames
                and (rows + ticket.rows) * ticket.frames <= self._most_frames
                and now + cost <= batch[0].deadline
            )
            if fits:
                batch.append(ticket)
                rows += ticket.rows
            else:
                rest.append(ticket)
        self._waiting = collections.deque(rest)
        return batch

    def _call(self, batch: list[Ticket]) -> None:
        started = time.monotonic()
        try:
            answers = _answers(self._estimator, batch)
        except Exception as error:
            # Whoever waits is told; the thread goes on for the others.
            for ticket in batch:
                ticket.finish(None, error)
            return
        elapsed = time.monotonic() - started
        per_frame = elapsed / (sum(ticket.rows for ticket in batch) * batch[0].frames)
        self._frame_seconds += (per_frame - self._frame_seconds) * (_NEWEST if self.calls else 1)
        self.busy_seconds += elapsed
        self.calls += 1
        self.windows += len(batch)
        for ticket, answer in zip(batch, answers, strict=True):
            ticket.finish(answer)


def _answers(estimator: MaskEstimator | StepNetwork, batch: list[Ticket]) -> list[Any]:
    """One call of the network for tickets of as many frames each."""
    magnitudes = np.concatenate(
        [
            np.broadcast_to(ticket.magnitude, (ticket.rows, *ticket.magnitude.shape))
            for ticket in batch
        ]
    )
    ends = np.cumsum([ticket.rows for ticket in batch])
    rows = [slice(end - ticket.rows, end) for ticket, end in zip(batch, ends, strict=True)]
    if isinstance(estimator, StepNetwork):
        states = [ticket.asked for ticket in batch if isinstance(ticket.asked, NetworkState)]
        masks, after = estimator.run(magnitudes[:, None], NetworkState.joined(states))
        return [(masks[span], after.picked(span)) for span in rows]
    conditions = np.concatenate([np.asarray(ticket.asked) for ticket in batch])
    masks = estimator.run(magnitudes, conditions)
    return [masks[span] for span in rows]


class _Asking:
    """What one stream sees of the batcher: a network that can be late.

    Attributes:
        deadline: When the next masks are of use at the latest (time.monotonic); infinite for
            as long as it takes.
        late: Calls whose masks came too late.
        waits: Seconds that calls waited for their masks.

    Args:
        urgent: Runs calls that have a deadline.
        patient: Runs those that have none, so that they hold up no others.
    """

    def __init__(self, urgent: Batcher, patient: Batcher) -> None:
        self.deadline = math.inf
        self.late = 0
        self.waits = Histogram()
        self._urgent = urgent
        self._patient = patient

    def _ask(
        self, magnitude: NDArray[np.float32], asked: NDArray[np.float32] | NetworkState
    ) -> Any:
        batcher = self._patient if math.isinf(self.deadline) else self._urgent
        # The frames are a view of a buffer that moves on while a late call is under way.
        ticket = Ticket(magnitude.copy(), asked, self.deadline)
        started = time.monotonic()
        batcher.submit(ticket)
        answer = ticket.wait()
        self.waits.add(time.monotonic() - started)
        self.late += answer is None
        return answer

    def prepare(self, rows: int, frames: int) -> None:
        """Nothing: what rows meet in a call is not known beforehand; the server warms up."""


class BatchedEstimator(_Asking):
    """The network of windows, as one stream asks it: :class:`MaskEstimator`, at times late."""

    def __init__(self, config: SeparatorConfig, urgent: Batcher, patient: Batcher) -> None:
        super().__init__(urgent, patient)
        self.config = config

    def masks(
        self, magnitude: NDArray[np.float32], conditions: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:
        """As :meth:`audiosep_core.runtime.session.MaskEstimator.masks`; None when late."""
        masks: NDArray[np.float32] | None = self._ask(magnitude, conditions)
        return masks


class BatchedSteps(_Asking):
    """The streaming network, as one stream asks it: :class:`StepNetwork`, at times late."""

    def __init__(self, network: StepNetwork, urgent: Batcher, patient: Batcher) -> None:
        super().__init__(urgent, patient)
        self.config = network.config
        self.start = network.start

    def step(
        self, magnitude: NDArray[np.float32], state: NetworkState
    ) -> tuple[NDArray[np.float32], NetworkState] | None:
        """As :meth:`audiosep_core.runtime.steps.StepNetwork.step`; None when late."""
        answer: tuple[NDArray[np.float32], NetworkState] | None = self._ask(magnitude, state)
        return answer


def batched(
    network: MaskEstimator | StepNetwork, urgent: Batcher, patient: Batcher
) -> BatchedEstimator | BatchedSteps:
    """What a stream of its own sees of a network that others use as well."""
    if isinstance(network, StepNetwork):
        return BatchedSteps(network, urgent, patient)
    return BatchedEstimator(network.config, urgent, patient)

"""Answers at their time, and the mixture, equally late, where there is none; pure arithmetic."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from audiosep_core.fifo import Fifo

_FADE_SECONDS = 0.005


class Alignment:
    """Plays a stream ``latency + slack`` frames late, whatever comes back and when.

    Frames are counted from the first one pushed since the start or the last :meth:`restart`. A
    frame without an answer by the time that it is taken is that of the mixture: alone in the
    first row, so that rows that sum to the mixture still do. Behind such a stretch the answers
    fade in over 5 ms.

    Args:
        latency: Frames by which the server's answers lie behind the mixture.
        slack: Frames that an answer may take.
        rows: Signals in an answer.
        channels: Of the mixture and of each row.
        sample_rate: In Hz.

    Attributes:
        dry_frames: Frames that the mixture took the place of so far.
    """

    def __init__(
        self, latency: int, slack: int, rows: int, channels: int, sample_rate: int
    ) -> None:
        self.latency = latency
        self.slack = slack
        self.dry_frames = 0
        self._shape = (rows, channels)
        self._fade = max(1, round(_FADE_SECONDS * sample_rate))
        self.restart()

    @property
    def delay(self) -> int:
        """Frames by which everything is late."""
        return self.latency + self.slack

    @property
    def pushed(self) -> int:
        """Frames of the mixture since the start or the last restart."""
        return self._taken + len(self._mixture)

    @property
    def base(self) -> int:
        """The first frame of the server's stream that is running."""
        return self._base

    def restart(self) -> None:
        """Forget all sound, and count from 0."""
        # What lies before frame 0 is silence, and its answer, too.
        self._taken = -self.delay
        self._mixture = Fifo(self._shape[1:])
        self._mixture.push_zeros(self.delay)
        self._answers = Fifo(self._shape)
        self._answers.push_zeros(self.delay)
        #: Stretches without an answer before the last answer, first and behind the last frame.
        self._gaps: deque[tuple[int, int]] = deque()
        #: Frames taken since the last dry one, up to the length of the fade.
        self._since = self._fade
        self.reopen()

    def reopen(self) -> None:
        """The frame pushed next is the first one of a new stream of the server."""
        self._base = self.pushed
        self._answered = 0

    def push(self, block: NDArray[np.float32]) -> None:
        """(channels, n) of the mixture."""
        self._mixture.push(block)

    def place(self, answer: NDArray[np.float32]) -> None:
        """(rows, channels, n): the next answer of the stream that was opened last."""
        end = self._taken + len(self._answers)
        first = self._base + self._answered - self.latency
        self._answered += answer.shape[-1]
        # A stream's leading latency is no sound, and what has been taken is too late.
        skipped = min(max(self._base - first, end - first, 0), answer.shape[-1])
        if skipped == answer.shape[-1]:
            return
        first += skipped
        if first > end:
            self._gaps.append((end, first))
            self._answers.push_zeros(first - end)
        self._answers.push(answer[..., skipped:])

    def ready(self, count: int) -> bool:
        """Whether the next ``count`` frames all have their answer."""
        return len(self._answers) >= count and not (
            self._gaps and self._gaps[0][0] < self._taken + count
        )

    def take(self, count: int) -> NDArray[np.float32]:
        """The next frames, ``delay`` behind the mixture; at most ``delay`` beyond what was pushed.

        Returns:
            (rows, channels, count).
        """
        if self._since == self._fade and self.ready(count):
            self._mixture.drop(count)
            self._taken += count
            return self._answers.pop(count)
        have = self._present(count)
        known = min(count, len(self._answers))
        rows = np.zeros((*self._shape, count), np.float32)
        rows[..., :known] = self._answers.pop(known)
        mixture = self._mixture.pop(count)
        self._taken += count
        self.dry_frames += count - int(np.count_nonzero(have))
        weights = self._weights(have)
        # Where the answer has its full weight it stays as it is, to the bit.
        mixed, target = weights < 1, rows[0]
        target[:, mixed] -= mixture[:, mixed]
        rows[..., mixed] *= weights[mixed]
        target[:, mixed] += mixture[:, mixed]
        return rows

    def _present(self, count: int) -> NDArray[np.bool_]:
        """Which of the next frames have their answer; forgets the gaps among them."""
        have = np.arange(count) < len(self._answers)
        end = self._taken + count
        while self._gaps and self._gaps[0][0] < end:
            start, stop = self._gaps.popleft()
            have[start - self._taken : stop - self._taken] = False
            if stop > end:
                self._gaps.appendleft((end, stop))
        return have

    def _weights(self, have: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Share of the answer in each frame."""
        index = np.arange(len(have))
        dry = np.maximum.accumulate(np.where(have, -1 - self._since, index))
        since = index - dry
        self._since = min(int(since[-1]), self._fade) if len(have) else self._since
        return np.minimum(since / np.float32(self._fade), 1).astype(np.float32)

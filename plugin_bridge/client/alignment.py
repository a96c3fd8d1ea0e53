"""Answers at their time, and the mixture, equally late, where there is none; pure arithmetic."""

from __future__ import annotations

import itertools
from collections import deque

import numpy as np
from numpy.typing import NDArray

from audiosep_core.signal.fifo import Fifo
from plugin_bridge.client.history import History

#: Frames over which a step at a loss decays, and over which an answer fades in.
FADE = 480


class Alignment:
    """Plays a stream ``latency + slack`` frames late, whatever comes back and when.

    Frames are counted from the first one pushed since the start or the last :meth:`restart`. A
    frame without an answer by the time that it is taken is that of the mixture: alone in the
    first row, so that rows that sum to the mixture still do. The step at such a loss decays over
    480 frames, and behind it the answers fade in over as many.

    Args:
        latency: Frames by which the server's answers lie behind the mixture.
        slack: Frames that an answer may take.
        rows: Signals in an answer.
        channels: Of the mixture and of each row.
        kept: Frames of the mixture that are kept beyond the delay.

    Attributes:
        past: The last of the mixture.
        pushed: Frames of the mixture since the start or the last restart.
        dry_frames: Frames that the mixture took the place of so far.
        late_frames: Frames whose answer came when the mixture had.
    """

    def __init__(self, latency: int, slack: int, rows: int, channels: int, kept: int = 0) -> None:
        self.latency = latency
        self.slack = slack
        self.dry_frames = 0
        self.late_frames = 0
        self._shape = (rows, channels)
        self.past = History(channels, max(1, self.delay + kept))
        self.restart()

    @property
    def delay(self) -> int:
        """Frames by which everything is late."""
        return self.latency + self.slack

    @property
    def base(self) -> int:
        """The first frame of the server's stream that is running."""
        return self._base

    @property
    def end(self) -> int:
        """The first frame without an answer behind the last one that has one."""
        return max(0, self._taken + len(self._answers))

    def restart(self) -> None:
        """Forget all sound, and count from 0."""
        # What lies before frame 0 is silence, and its answer, too.
        self._taken = -self.delay
        self.pushed = 0
        self.past.clear()
        self._answers = Fifo(self._shape)
        self._answers.push_zeros(self.delay)
        #: Stretches without an answer before the last answer, first and behind the last frame.
        self._gaps: deque[tuple[int, int]] = deque()
        #: Frames taken since the last dry one, up to the length of the fade.
        self._since = FADE
        #: What the first frame of the last loss was short of the one before it, and frames in
        #: which that still decays.
        self._step = np.zeros((*self._shape, 1), np.float32)
        self._stepping = 0
        #: The frame taken last, and whether it had an answer.
        self._last = np.zeros((*self._shape, 1), np.float32)
        self._wet = False
        self.reopen()

    def reopen(self, base: int | None = None) -> None:
        """A new stream of the server begins.

        Args:
            base: Its first frame; by default the one that is pushed next. Of one that was answered
                before, the answer is passed over.
        """
        self._new = self.pushed if base is None else max(base, self.end)
        self._base = self.pushed if base is None else base
        self._answered = 0

    def push(self, block: NDArray[np.float32]) -> None:
        """(channels, n) of the mixture."""
        self.past.push(block)
        self.pushed += block.shape[1]

    def place(self, answer: NDArray[np.float32]) -> None:
        """(rows, channels, n): the next answer of the stream that was opened last."""
        end = self._taken + len(self._answers)
        first = self._base + self._answered - self.latency
        self._answered += answer.shape[-1]
        # A stream's leading latency is no sound, and what has been taken is too late.
        behind = first + answer.shape[-1]
        self.late_frames += max(0, min(behind, self._taken) - max(first, self._new))
        skipped = min(max(self._new - first, end - first, 0), answer.shape[-1])
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

    def take(self, count: int, silent: bool = False) -> NDArray[np.float32]:
        """The next frames, ``delay`` behind the mixture; at most ``delay`` beyond what was pushed.

        Args:
            count: How many.
            silent: Let silence take the place of the mixture.

        Returns:
            (rows, channels, count).

        Raises:
            ValueError: There are not so many.
        """
        if self._taken + count > self.pushed:
            raise ValueError(f"{count} frames are more than were pushed and not taken")
        if self._since == FADE and not self._stepping and self.ready(count):
            rows = self._answers.pop(count)
            self._played(rows, count > 0)
            return rows
        have = self._present(count)
        known = min(count, len(self._answers))
        rows = np.zeros((*self._shape, count), np.float32)
        rows[..., :known] = self._answers.pop(known)
        mixture = self._mixture(0 if silent else count, count)
        self.dry_frames += count - int(np.count_nonzero(have))
        weights = self._weights(have)
        # Where the answer has its full weight it stays as it is, to the bit.
        mixed, target = weights < 1, rows[0]
        target[:, mixed] -= mixture[:, mixed]
        rows[..., mixed] *= weights[mixed]
        target[:, mixed] += mixture[:, mixed]
        self._smooth(rows, have, summing=not silent)
        self._played(rows, bool(count and have[-1]))
        return rows

    def _mixture(self, known: int, count: int) -> NDArray[np.float32]:
        """The next frames of the mixture; silence before its first one, and behind ``known``."""
        mixture = np.zeros((self._shape[1], count), np.float32)
        first = min(max(-self._taken, 0), known)
        ago = self.pushed - self._taken - known
        mixture[:, first:known] = self.past.last(known - first, ago)
        return mixture

    def _played(self, rows: NDArray[np.float32], wet: bool) -> None:
        count = rows.shape[-1]
        self._taken += count
        if count:
            self._last[:] = rows[..., -1:]
            # What lies before frame 0 is no answer that could be lost.
            self._wet = wet and self._taken > 0

    def _smooth(self, rows: NDArray[np.float32], have: NDArray[np.bool_], summing: bool) -> None:
        """Let the step at each loss among some frames decay, in place.

        Several rows that sum to the mixture still do if they are ``summing``.
        """
        heard = have & (np.arange(len(have)) + self._taken >= 0)
        before = np.concatenate([[self._wet], heard[:-1]])
        losses = np.flatnonzero(before & ~have)
        for start, stop in itertools.pairwise([0, *losses, len(have)]):
            if start in losses:
                last = rows[..., start - 1 : start] if start else self._last
                self._step = last - rows[..., start : start + 1]
                if summing and len(rows) > 1:
                    self._step[0] = -self._step[1:].sum(0)
                self._stepping = FADE
            count = min(stop - start, self._stepping)
            if count:
                left = self._stepping - np.arange(count, dtype=np.float32)
                rows[..., start : start + count] += self._step * (left / FADE)
                self._stepping -= count

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
        self._since = min(int(since[-1]), FADE) if len(have) else self._since
        return np.minimum(since / np.float32(FADE), 1).astype(np.float32)

"""Latency compensation: what an engine gives, in time with what it was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from audiosep_core.settings import Delta, Settings

#: Before the first call, in Hz.
USUAL_RATE = 48_000


class Engine(Protocol):
    """What separates a stream."""

    replaced_blocks: int

    @property
    def settings(self) -> Settings:
        """What is separated."""

    @property
    def sample_rate(self) -> int:
        """Of the stream, in Hz."""

    @property
    def channels(self) -> int:
        """Of the stream."""

    @property
    def latency_samples(self) -> int:
        """Samples by which the output lies behind the input."""

    def change(self, delta: Delta) -> object:
        """Fold a change into the settings."""

    def process(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, n) to (rows, channels, n)."""

    def flush(self) -> NDArray[np.float32]:
        """The last ``latency_samples`` frames."""

    def reset(self) -> None:
        """Forget all sound."""


AnyEngine = TypeVar("AnyEngine", bound=Engine)


class Compensated(Generic[AnyEngine]):
    """An engine without the latency in front of what it gives.

    Args:
        make: Makes an engine for a rate in Hz and a number of channels.

    Attributes:
        engine: That of the last stream; None before the first one.
    """

    def __init__(self, make: Callable[[int, int], AnyEngine]) -> None:
        self.engine: AnyEngine | None = None
        self._make = make
        #: What is left of the leading latency, in frames.
        self._lead = 0

    def start(self, channels: int, rate: int, anew: bool) -> bool:
        """Have an engine for a stream.

        Args:
            channels: Of the stream.
            rate: In Hz.
            anew: Forget what is there, although it may fit.

        Returns:
            Whether the stream begins with the next frame.
        """
        engine = self.engine
        if engine is None or (channels, rate) != (engine.channels, engine.sample_rate):
            self.engine = self._make(rate, channels)
            anew = True
        if anew:
            self.reset()
        return anew

    def process(
        self, audio: NDArray[np.float32], buffer_size: int, whole: bool
    ) -> NDArray[np.float32]:
        """(channels, n) to (rows, channels, m).

        Args:
            audio: Of the stream that was started.
            buffer_size: Frames that the engine gets at a time.
            whole: Whether that is all of the stream: as many frames come out. Otherwise the first
                calls give up to the latency fewer.
        """
        assert self.engine is not None, "a stream is started first"
        parts = [
            self.engine.process(np.ascontiguousarray(audio[:, at : at + buffer_size]))
            for at in range(0, audio.shape[1], buffer_size)
        ]
        if whole:
            parts.append(self.engine.flush())
        rows = self._late(np.concatenate(parts, -1))
        if whole:
            # As in pedalboard, a stream that goes on from here lost its latency already.
            self._lead = 0
        return rows

    def flush(self) -> NDArray[np.float32]:
        """The end of the stream that was started: what it held back."""
        assert self.engine is not None, "a stream is started first"
        return self._late(self.engine.flush())

    def reset(self) -> None:
        """Forget all sound."""
        if self.engine is not None:
            self.engine.reset()
            self._lead = self.engine.latency_samples

    def _late(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        dropped = min(self._lead, rows.shape[-1])
        self._lead -= dropped
        return rows[..., dropped:]

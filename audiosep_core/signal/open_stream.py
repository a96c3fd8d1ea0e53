"""The stream that fits a network: in windows, or in steps."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.signal.masking import Estimator
from audiosep_core.signal.selection import Selection
from audiosep_core.signal.stepped_stream import stepped_stream
from audiosep_core.signal.stepping import StepEstimator
from audiosep_core.signal.stream import SeparationStream
from audiosep_core.signal.windows import Steps, Windows, offline_windows

#: Seconds of frames that a streaming network takes in one call offline.
_OFFLINE_CALL_SECONDS = 2.0


class Stream(Protocol):
    """What all streams do; :class:`audiosep_core.signal.stream.SeparationStream` says how."""

    def select(self, selection: Selection, position: int) -> int:
        """Separate something else from a sample on; returns the sample."""

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, n) in, (rows + 1, channels, m) out: stems or target, and the residual."""

    def finish(self) -> NDArray[np.float32]:
        """End the stream, return the rest."""


def open_stream(
    estimator: Estimator | StepEstimator,
    selection: Selection,
    sample_rate: int,
    channels: int,
    windows: Windows | Steps,
    summed: bool = False,
    origin: int = 0,
) -> Stream:
    """A stream of the form that the network has; ``windows`` is of the same form.

    Arguments as of :class:`audiosep_core.signal.stream.SeparationStream`.
    """
    if isinstance(windows, Steps):
        assert isinstance(estimator.config, StreamingConfig)
        steps: StepEstimator = estimator  # type: ignore[assignment]
        return stepped_stream(
            steps, selection, sample_rate, channels, summed, windows.frames, origin
        )
    whole: Estimator = estimator  # type: ignore[assignment]
    return SeparationStream(whole, selection, sample_rate, channels, windows, summed, origin)


def offline_grouping(config: object, context_seconds: float) -> Windows | Steps:
    """How frames are grouped for a recording that is all there."""
    if isinstance(config, StreamingConfig):
        step = config.step_frames
        frames = round(_OFFLINE_CALL_SECONDS * config.frame_rate) // step * step
        return Steps(max(step, frames))
    return offline_windows(config, context_seconds)  # type: ignore[arg-type]

"""A streaming network in ONNX Runtime: frames and a state in, masks and the next state out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiosep_core.model.bundle import CONDITION, SEPARATOR, Bundle
from audiosep_core.model.state import NetworkState
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.runtime.calls import GraphCalls
from audiosep_core.runtime.device import CUDA, Device, open_session

#: Frames × rows that one call for several streams may hold, and that are prepared.
_MOST_FRAMES = 512
_STATE_IN, _STATE_OUT = "state.", "next."


class StepNetwork:
    """Runs the graphs of a streaming model. Several threads may share one; it keeps no state.

    Args:
        bundle: The model.
        device: "cpu", "cuda", or "auto": CUDA where ONNX Runtime can really use it.
        threads: Threads inside one call on the CPU; 0 takes all cores.
        spinning: As in :func:`audiosep_core.runtime.device.open_session`.

    Raises:
        DeviceError: "cuda" was asked for and cannot be had, or ONNX Runtime is missing.
        BundleError: A graph cannot be loaded.
        ValueError: The device is unknown.
    """

    def __init__(
        self, bundle: Bundle, device: Device = "auto", threads: int = 0, spinning: bool = True
    ) -> None:
        assert isinstance(bundle.config, StreamingConfig)
        self.config = bundle.config
        self._calls = GraphCalls(bundle.path(SEPARATOR), device, threads, spinning)
        self._condition = open_session(bundle.path(CONDITION), "cpu", 1, spinning=False)
        #: The execution provider that was really chosen.
        self.provider = self._calls.provider
        inputs = self._calls.inputs
        self._film = inputs["film"][1:]
        self._shapes = {
            name.removeprefix(_STATE_IN): shape[1:]
            for name, shape in inputs.items()
            if name.startswith(_STATE_IN)
        }
        self._outputs = ["mask", *(_STATE_OUT + name for name in self._shapes)]

    @property
    def batch_frames(self) -> int:
        """Frames × rows up to which one call for several streams costs no more than several."""
        return _MOST_FRAMES

    def start(self, conditions: NDArray[np.float32]) -> NetworkState:
        """The state of queries that nothing was heard of yet.

        Args:
            conditions: (queries, condition_size) embeddings.
        """
        conditions = np.ascontiguousarray(conditions, np.float32)
        film = self._condition.run(["film"], {"condition": conditions})[0]
        count = len(conditions)
        tensors = {
            name: np.zeros((count, *shape), np.float32) for name, shape in self._shapes.items()
        }
        return NetworkState(conditions, film, tensors)

    def prepare(self, rows: int, frames: int) -> None:
        """Make calls of one shape ready, so that the first is as quick as any later one.

        Does nothing for a shape that is ready, or so large that its buffers are not worth keeping.

        Args:
            rows: Queries, of all streams that share a call.
            frames: Of a call, a multiple of ``config.step_frames``.
        """
        if self.provider != CUDA and rows * frames > _MOST_FRAMES:
            return
        bins, states = self.config.bins, self._shapes.items()
        inputs = {"magnitude": (rows, 1, frames, bins), "film": (rows, *self._film)}
        inputs |= {_STATE_IN + name: (rows, *shape) for name, shape in states}
        outputs = {"mask": (rows, 3, frames, bins)}
        outputs |= {_STATE_OUT + name: (rows, *shape) for name, shape in states}
        self._calls.prepare((rows, frames), inputs, outputs)

    def step(
        self, magnitude: NDArray[np.float32], state: NetworkState
    ) -> tuple[NDArray[np.float32], NetworkState]:
        """Frames of one stream through the network.

        Args:
            magnitude: (frames, bins) at a normal level, frames a multiple of ``step_frames``.
            state: After the frames before.

        Returns:
            Masks (queries, 3, frames, bins), each row late by the look-ahead, and the state
            after them.
        """
        count = len(state.conditions)
        shared = np.broadcast_to(magnitude, (count, 1, *magnitude.shape))
        return self.run(shared, state)

    def run(
        self, magnitudes: NDArray[np.float32], state: NetworkState
    ) -> tuple[NDArray[np.float32], NetworkState]:
        """Frames of several streams through the network, a row for each query of each.

        Args:
            magnitudes: (rows, 1, frames, bins).
            state: Of as many rows.

        Returns:
            As :meth:`step`.
        """
        rows, _, frames, _ = magnitudes.shape
        feed = {"magnitude": np.ascontiguousarray(magnitudes), "film": state.film}
        feed |= {_STATE_IN + name: tensor for name, tensor in state.tensors.items()}
        masks, *tensors = self._calls.run((rows, frames), feed, self._outputs)
        after = dict(zip(self._shapes, tensors, strict=True))
        return masks, NetworkState(state.conditions, state.film, after)

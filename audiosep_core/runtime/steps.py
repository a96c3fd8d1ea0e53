"""A streaming network in ONNX Runtime: frames and a state in, masks and the next state out."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from audiosep_core.model.bundle import CONDITION, SEPARATOR, Bundle
from audiosep_core.model.state import NetworkState
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.runtime.device import CUDA, Device, captures, open_session, own_thread
from audiosep_core.runtime.prepared import UNCAPTURED, PreparedCall, run_options

#: Frames × rows that one call for several streams may hold, and that are prepared.
_MOST_FRAMES = 512
_STATE_IN, _STATE_OUT = "state.", "next."

_Result = TypeVar("_Result")


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
        self._open = functools.partial(
            open_session, bundle.path(SEPARATOR), device, threads, spinning=spinning
        )
        self._session = self._open()
        self._condition = open_session(bundle.path(CONDITION), "cpu", 1, spinning=False)
        #: The execution provider that was really chosen.
        self.provider: str = self._session.get_providers()[0]
        self._thread = own_thread(self.provider)
        self._shapes = {
            value.name.removeprefix(_STATE_IN): tuple(value.shape[1:])
            for value in self._session.get_inputs()
            if value.name.startswith(_STATE_IN)
        }
        self._outputs = ["mask", *(_STATE_OUT + name for name in self._shapes)]
        self._uncaptured = run_options(UNCAPTURED)
        self._prepared: dict[tuple[int, int], PreparedCall] = {}
        self._preparing = threading.Lock()

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

        They then use buffers that were allocated and bound once; on CUDA they replay a graph
        where every node was placed there and could be captured. Does nothing for a shape that is
        ready, or so large that its buffers are not worth keeping.

        Args:
            rows: Queries, of all streams that share a call.
            frames: Of a call, a multiple of ``config.step_frames``.
        """
        if self.provider != CUDA and rows * frames > _MOST_FRAMES:
            return
        with self._preparing:
            if (rows, frames) in self._prepared:
                return
            try:
                self._on_its_thread(self._prepare, rows, frames)
            # What ONNX Runtime raises where a capture fails has no type of its own.
            except Exception:
                if not captures(self._session):
                    raise
                self._session = self._open(capture=False)
                self._prepared.clear()
                self._on_its_thread(self._prepare, rows, frames)

    def _prepare(self, rows: int, frames: int) -> None:
        inputs = {value.name: (rows, *value.shape[1:]) for value in self._session.get_inputs()} | {
            "magnitude": (rows, 1, frames, self.config.bins)
        }
        outputs = {"mask": (rows, 3, frames, self.config.bins)}
        outputs |= {_STATE_OUT + name: (rows, *shape) for name, shape in self._shapes.items()}
        memory = "cuda" if self.provider == CUDA else "cpu"
        options = run_options(len(self._prepared) + 1)
        call = PreparedCall(self._session, memory, inputs, outputs, options)
        call.warm_up()
        self._prepared[rows, frames] = call

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
        feed = {"magnitude": np.ascontiguousarray(magnitudes), "film": state.film}
        feed |= {_STATE_IN + name: tensor for name, tensor in state.tensors.items()}
        masks, *tensors = self._on_its_thread(self._call, feed)
        after = dict(zip(self._shapes, tensors, strict=True))
        return masks, NetworkState(state.conditions, state.film, after)

    def _call(self, feed: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        rows, _, frames, _ = feed["magnitude"].shape
        prepared = self._prepared.get((rows, frames))
        made = prepared.run(feed) if prepared is not None else None
        return made or self._session.run(self._outputs, feed, self._uncaptured)

    def _on_its_thread(self, task: Callable[..., _Result], *given: Any) -> _Result:
        return task(*given) if self._thread is None else self._thread.submit(task, *given).result()

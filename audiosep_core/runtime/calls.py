"""Calls of one graph on one device, quicker where their shape was prepared."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from audiosep_core.runtime.device import CUDA, Device, captures, open_session, own_thread
from audiosep_core.runtime.prepared import UNCAPTURED, PreparedCall, run_options

_Result = TypeVar("_Result")
_Shapes = Mapping[str, tuple[int, ...]]


class GraphCalls:
    """Runs a graph. Several threads may share one.

    Args:
        graph: An ONNX file.
        device: "cpu", "cuda", or "auto": CUDA where ONNX Runtime can really use it.
        threads: Threads inside one call on the CPU; 0 takes all cores.
        spinning: As in :func:`audiosep_core.runtime.device.open_session`.

    Attributes:
        provider: The execution provider that was really chosen.

    Raises:
        DeviceError: "cuda" was asked for and cannot be had, or ONNX Runtime is missing.
        BundleError: The graph cannot be loaded.
        ValueError: The device is unknown.
    """

    provider: str

    def __init__(self, graph: Path, device: Device, threads: int, spinning: bool) -> None:
        self._open = functools.partial(open_session, graph, device, threads, spinning=spinning)
        self._session = self._open()
        self.provider = self._session.get_providers()[0]
        self._thread = own_thread(self.provider)
        self._uncaptured = run_options(UNCAPTURED)
        self._prepared: dict[tuple[int, int], PreparedCall] = {}
        self._preparing = threading.Lock()

    @property
    def inputs(self) -> dict[str, tuple[Any, ...]]:
        """Names and shapes of the inputs, free axes by their names."""
        return {value.name: tuple(value.shape) for value in self._session.get_inputs()}

    def is_prepared(self, shape: tuple[int, int]) -> bool:
        """Whether calls of a shape are ready."""
        return shape in self._prepared

    def prepare(
        self, shape: tuple[int, int], inputs: _Shapes, outputs: _Shapes, warm: bool = True
    ) -> None:
        """Make calls of one shape ready, so that the first is as quick as any later one.

        They then use buffers that were allocated and bound once; on CUDA they replay a graph
        where every node was placed there and could be captured. What was prepared stays as long
        as the object, and a shape that is ready stays as it is.

        Args:
            shape: What tells it from others: rows and frames.
            inputs: Name to shape.
            outputs: Name to shape.
            warm: Call it, as the first call of a device takes memory and time.
        """
        with self._preparing:
            if shape in self._prepared:
                return
            try:
                self._on_its_thread(self._prepare, shape, inputs, outputs, warm)
            # What ONNX Runtime raises where a capture fails has no type of its own.
            except Exception:
                if not captures(self._session):
                    raise
                self._session = self._open(capture=False)
                self._prepared.clear()
                self._on_its_thread(self._prepare, shape, inputs, outputs, warm)

    def _prepare(
        self, shape: tuple[int, int], inputs: _Shapes, outputs: _Shapes, warm: bool
    ) -> None:
        memory = "cuda" if self.provider == CUDA else "cpu"
        options = run_options(len(self._prepared) + 1)
        call = PreparedCall(self._session, memory, inputs, outputs, options)
        if warm:
            call.warm_up()
        self._prepared[shape] = call

    def run(
        self,
        shape: tuple[int, int],
        feed: Mapping[str, NDArray[np.float32]],
        outputs: Sequence[str],
        options: Any = None,
    ) -> list[NDArray[np.float32]]:
        """The outputs of one call, arrays of their own.

        Args:
            shape: As in :meth:`prepare`; one that was not prepared runs as well.
            feed: Name to input, contiguous.
            outputs: Their names, in the order of :meth:`prepare`.
            options: Of a call whose shape was not prepared.
        """
        return self._on_its_thread(self._run, shape, feed, outputs, options)

    def _run(
        self,
        shape: tuple[int, int],
        feed: Mapping[str, NDArray[np.float32]],
        outputs: Sequence[str],
        options: Any,
    ) -> list[NDArray[np.float32]]:
        prepared = self._prepared.get(shape)
        made = prepared.run(feed) if prepared is not None else None
        return made or self._session.run(outputs, feed, options or self._uncaptured)

    def _on_its_thread(self, task: Callable[..., _Result], *given: Any) -> _Result:
        return task(*given) if self._thread is None else self._thread.submit(task, *given).result()

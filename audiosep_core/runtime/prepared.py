"""A call of the network whose shape is fixed, in buffers that are allocated once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: On the CPU the first call takes memory. On CUDA it chooses algorithms and the second may
#: still allocate; a call to be captured ONNX Runtime repeats until it is, the next replays it.
_WARM_UP_CALLS = {"cpu": 1, "cuda": 2}
#: Calls under this number are never captured as a CUDA graph.
UNCAPTURED = -1


class PreparedCall:
    """Runs ``separator.onnx`` on inputs of one shape each, float32.

    Inputs and outputs lie on the session's device at addresses that never change, as a CUDA
    graph demands.

    Args:
        session: Of the separator.
        memory: "cpu" or "cuda", where the session runs.
        inputs: Name to shape.
        outputs: Name to shape.
        options: Of every run.
    """

    def __init__(
        self,
        session: Any,
        memory: str,
        inputs: Mapping[str, tuple[int, ...]],
        outputs: Mapping[str, tuple[int, ...]],
        options: Any,
    ) -> None:
        self._session, self._options = session, options
        self._inputs, self._outputs = (
            {name: _Buffer(shape, memory) for name, shape in shapes.items()}
            for shapes in (inputs, outputs)
        )
        self._warm_up_calls = _WARM_UP_CALLS[memory]
        self._binding = session.io_binding()
        for name, buffer in self._inputs.items():
            self._binding.bind_ortvalue_input(name, buffer.value)
        for name, buffer in self._outputs.items():
            self._binding.bind_ortvalue_output(name, buffer.value)
        self._busy = threading.Lock()

    def warm_up(self) -> None:
        """Do beforehand whatever the first calls would do once."""
        feed = {name: np.zeros(buffer.shape, np.float32) for name, buffer in self._inputs.items()}
        for _ in range(self._warm_up_calls):
            self.run(feed)

    def run(self, feed: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]] | None:
        """The outputs for inputs of the prepared shapes, contiguous.

        Returns:
            In the order of ``outputs``, copies; None if another thread is using the buffers.
        """
        if not self._busy.acquire(blocking=False):
            return None
        try:
            for name, buffer in self._inputs.items():
                buffer.write(feed[name])
            self._session.run_with_iobinding(self._binding, self._options)
            return [buffer.read() for buffer in self._outputs.values()]
        finally:
            self._busy.release()


class _Buffer:
    """Memory of one input or output. In the CPU's own memory it is an array, and copied as one."""

    def __init__(self, shape: tuple[int, ...], memory: str) -> None:
        from onnxruntime import OrtValue

        self.shape = shape
        self._array: NDArray[np.float32] | None = None
        if memory == "cpu":
            self._array = np.zeros(shape, np.float32)
            self.value = OrtValue.ortvalue_from_numpy(self._array)
        else:
            self.value = OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32, memory)

    def write(self, content: NDArray[np.float32]) -> None:
        if self._array is None:
            self.value.update_inplace(content)
        else:
            np.copyto(self._array, content)

    def read(self) -> NDArray[np.float32]:
        return np.asarray(self.value.numpy()) if self._array is None else self._array.copy()


def run_options(graph: int) -> Any:
    """Options of runs that are captured under a number, which only CUDA minds."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options

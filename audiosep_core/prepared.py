"""A call of the network whose shape is fixed, in buffers that are allocated once."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: On the CPU the first call takes memory. On CUDA it chooses algorithms and the second may
#: still allocate; a call to be captured ONNX Runtime repeats until it is, the next replays it.
_WARM_UP_CALLS = {"cpu": 1, "cuda": 2}


class PreparedCall:
    """Runs ``separator.onnx`` on inputs of one shape.

    Inputs and output lie on the session's device at addresses that never change, as a CUDA
    graph demands.

    Args:
        session: Of the separator.
        memory: "cpu" or "cuda", where the session runs.
        magnitude: Shape of that input, (rows, 1, frames, bins).
        condition: Shape of that input, (rows, condition_size).
        options: Of every run.
    """

    def __init__(
        self,
        session: Any,
        memory: str,
        magnitude: tuple[int, ...],
        condition: tuple[int, ...],
        options: Any,
    ) -> None:
        from onnxruntime import OrtValue

        def buffer(*shape: int) -> Any:
            return OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32, memory)

        rows, _, frames, bins = magnitude
        self._session, self._memory, self._options = session, memory, options
        self._magnitude, self._condition = buffer(*magnitude), buffer(*condition)
        self._mask = buffer(rows, 3, frames, bins)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input("magnitude", self._magnitude)
        self._binding.bind_ortvalue_input("condition", self._condition)
        self._binding.bind_ortvalue_output("mask", self._mask)
        self._busy = threading.Lock()

    def warm_up(self) -> None:
        """Do beforehand whatever the first calls would do once."""
        magnitude = np.zeros(self._magnitude.shape(), np.float32)
        condition = np.zeros(self._condition.shape(), np.float32)
        for _ in range(_WARM_UP_CALLS[self._memory]):
            self.run(magnitude, condition)

    def run(
        self, magnitude: NDArray[np.float32], condition: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:
        """Masks of inputs of the prepared shapes, contiguous.

        Returns:
            (rows, 3, frames, bins), a copy; None if another thread is using the buffers.
        """
        if not self._busy.acquire(blocking=False):
            return None
        try:
            self._magnitude.update_inplace(magnitude)
            self._condition.update_inplace(condition)
            self._session.run_with_iobinding(self._binding, self._options)
            # On the CPU this is the buffer itself.
            return np.array(self._mask.numpy())
        finally:
            self._busy.release()

"""The separation network in ONNX Runtime: magnitudes and conditions in, masks out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiosep_core.model.bundle import SEPARATOR, Bundle
from audiosep_core.model.config import SeparatorConfig
from audiosep_core.runtime.calls import GraphCalls
from audiosep_core.runtime.device import CUDA, Device
from audiosep_core.runtime.prepared import UNCAPTURED, run_options

#: Frames × rows that one call may hold: bounds memory on long windows with many queries.
_MOST_FRAMES = 2048
#: Calls with more frames give their memory back: windows of differing length, as at the ends of
#: a file, would otherwise each leave their share in ONNX Runtime's arena.
_LARGE_FRAMES = 512


class MaskEstimator:
    """Runs ``separator.onnx``. Several threads may share one.

    Args:
        bundle: The model.
        device: "cpu", "cuda", or "auto": CUDA where ONNX Runtime can really use it.
        threads: Threads inside one call on the CPU; 0 takes all cores.
        spinning: As in :func:`audiosep_core.runtime.device.open_session`.

    Raises:
        DeviceError: "cuda" was asked for and cannot be had, or ONNX Runtime is missing.
        BundleError: The graph cannot be loaded.
        ValueError: The device is unknown.
    """

    def __init__(
        self, bundle: Bundle, device: Device = "auto", threads: int = 0, spinning: bool = True
    ) -> None:
        assert isinstance(bundle.config, SeparatorConfig)
        self.config = bundle.config
        self._calls = GraphCalls(bundle.path(SEPARATOR), device, threads, spinning)
        #: The execution provider that was really chosen.
        self.provider = self._calls.provider
        self._large = run_options(UNCAPTURED)
        self._large.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        # Frames × rows of the largest warm-up call.
        self._warm = 0

    @property
    def batch_frames(self) -> int:
        """Frames × rows up to which one call for several windows costs no more than several."""
        return _MOST_FRAMES if self.provider == CUDA else _LARGE_FRAMES

    def masks(
        self, magnitude: NDArray[np.float32], conditions: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Masks of all queries for one window.

        Args:
            magnitude: (frames, bins), frames a multiple of ``config.frame_multiple``; -1 in
                frames that lie outside the signal.
            conditions: (queries, condition_size).

        Returns:
            (queries, 3, frames, bins): magnitude mask, cosine and sine of the phase rotation.
        """
        return self.run(np.broadcast_to(magnitude, (len(conditions), *magnitude.shape)), conditions)

    def run(
        self, magnitudes: NDArray[np.float32], conditions: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Masks of a query each for several windows of one length, of several streams perhaps.

        Args:
            magnitudes: (rows, frames, bins), as in :meth:`masks`.
            conditions: (rows, condition_size).

        Returns:
            (rows, 3, frames, bins), an array of its own.

        Raises:
            ValueError: There are not as many magnitudes as conditions.
        """
        rows, frames, _ = magnitudes.shape
        if rows != len(conditions):
            raise ValueError(f"{rows} magnitudes need as many conditions, not {len(conditions)}")
        group = rows if self._calls.is_prepared((rows, frames)) else max(1, _MOST_FRAMES // frames)
        parts = []
        for start in range(0, rows, group):
            magnitude = np.ascontiguousarray(magnitudes[start : start + group, None])
            condition = np.ascontiguousarray(conditions[start : start + group])
            feed = {"magnitude": magnitude, "condition": condition}
            large = len(magnitude) * frames > _LARGE_FRAMES
            options = self._large if large else None
            parts += self._calls.run((len(magnitude), frames), feed, ["mask"], options)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def prepare(self, rows: int, frames: int) -> None:
        """Make calls of one shape ready, so that the first is as quick as any later one.

        Results are the same to the bit, and other shapes run as ever. Does nothing for a shape that
        is ready, nor on the CPU for one so large that its memory is given back after every call.

        Args:
            rows: Queries of one window, or windows of several streams.
            frames: Of each, a multiple of ``config.frame_multiple``.

        Raises:
            ValueError: The shape is impossible.
        """
        if rows < 1 or frames < 1 or frames % self.config.frame_multiple:
            raise ValueError(
                f"{rows} rows of {frames} frames cannot be prepared; give at least one row and a "
                f"multiple of {self.config.frame_multiple} frames"
            )
        if self.provider != CUDA and rows * frames > _LARGE_FRAMES:
            return
        config = self.config
        inputs = {
            "magnitude": (rows, 1, frames, config.bins),
            "condition": (rows, config.condition_size),
        }
        outputs = {"mask": (rows, 3, frames, config.bins)}
        # The CPU has nothing to find out about a shape, and a larger one has left it memory.
        warm = self.provider == CUDA or rows * frames > self._warm
        self._calls.prepare((rows, frames), inputs, outputs, warm)
        self._warm = max(self._warm, rows * frames)

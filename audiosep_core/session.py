"""The separation network in ONNX Runtime: magnitudes and conditions in, masks out."""

from __future__ import annotations

import os
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from audiosep_core.bundle import SEPARATOR, Bundle
from audiosep_core.errors import BundleError, DeviceError

Device = Literal["auto", "cpu", "cuda"]
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
#: Other programs share the GPU: the arena grows by what is asked for instead of doubling, and
#: is capped. Exhaustive search for convolution algorithms would be repeated for every length.
_CUDA_OPTIONS = {
    "gpu_mem_limit": str(4 << 30),
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",
}
#: Frames × queries that one call may hold: bounds memory on long windows with many queries.
_MOST_FRAMES = 2048
#: Calls with more frames give their memory back: windows of differing length, as at the ends of
#: a file, would otherwise each leave their share in ONNX Runtime's arena.
_LARGE_FRAMES = 512


class MaskEstimator:
    """Runs ``separator.onnx``.

    Args:
        bundle: The model.
        device: "cpu", "cuda", or "auto": CUDA where ONNX Runtime can really use it.
        threads: Threads inside one call on the CPU; 0 takes all cores.

    Raises:
        DeviceError: "cuda" was asked for and cannot be had, or ONNX Runtime is missing.
        BundleError: The graph cannot be loaded.
        ValueError: The device is unknown.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto", threads: int = 0) -> None:
        self.config = bundle.config
        self._session = _open_session(bundle, device, threads)
        self._shrinking = _shrinking_options()
        #: The execution provider that was really chosen.
        self.provider: str = self._session.get_providers()[0]

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
        group = max(1, _MOST_FRAMES // magnitude.shape[0])
        parts = []
        for start in range(0, len(conditions), group):
            some = np.ascontiguousarray(conditions[start : start + group])
            batch = np.broadcast_to(magnitude, (len(some), 1, *magnitude.shape))
            feed = {"magnitude": np.ascontiguousarray(batch), "condition": some}
            large = batch.shape[0] * batch.shape[2] > _LARGE_FRAMES
            options = self._shrinking if large else None
            parts.append(self._session.run(["mask"], feed, options)[0])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _open_session(bundle: Bundle, device: Device, threads: int) -> Any:
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', not {device!r}")
    try:
        import onnxruntime
    except ImportError:
        raise DeviceError(
            "ONNX Runtime is not installed; install audiosep with the extra 'cpu' or 'gpu', "
            "for example: pip install 'audiosep[cpu]'"
        ) from None
    has_cuda = _CUDA in onnxruntime.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise DeviceError(
            "this ONNX Runtime has no CUDA provider; install audiosep with the extra 'gpu' "
            "instead of 'cpu', or use --device cpu"
        )
    if device == "cpu" or not has_cuda:
        return _load(onnxruntime, bundle, threads, [_CPU])
    # The provider is listed wherever the wheel was built with it; only a session tells whether
    # its libraries and a GPU are there.
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    try:
        session = _load(onnxruntime, bundle, threads, [(_CUDA, _CUDA_OPTIONS), _CPU])
    except BundleError:
        session = None
    if session is not None and session.get_providers()[0] == _CUDA:
        return session
    message = (
        "ONNX Runtime could not start CUDA (its libraries or a GPU are missing); "
        "'audiosep doctor' tells which"
    )
    if device == "cuda":
        raise DeviceError(message)
    # Three frames up is who made the estimator.
    warnings.warn(f"{message}; running on the CPU", stacklevel=4)
    return session or _load(onnxruntime, bundle, threads, [_CPU])


def _shrinking_options() -> Any:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _load(onnxruntime: Any, bundle: Bundle, threads: int, providers: list[Any]) -> Any:
    options = onnxruntime.SessionOptions()
    # Warnings about node placement would land on the terminal of every user.
    options.log_severity_level = 4 if len(providers) > 1 else 3
    # A plan for each length would set aside twice what a call needs, and is no quicker.
    options.enable_mem_pattern = False
    options.intra_op_num_threads = threads or (os.cpu_count() or 1)
    path = str(bundle.path(SEPARATOR))
    try:
        with warnings.catch_warnings():
            # ONNX Runtime's own words on a provider that it lacks; ours say what to do.
            warnings.simplefilter("ignore")
            return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:
        raise BundleError(
            f"ONNX Runtime cannot load {path}: {str(error).splitlines()[0]}; export it again"
        ) from None

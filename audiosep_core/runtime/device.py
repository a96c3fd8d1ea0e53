"""Where the network runs: sessions of ONNX Runtime on the CPU or, if it can really be had, CUDA."""

from __future__ import annotations

import functools
import os
import warnings
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from audiosep_core.errors import BundleError, DeviceError

Device = Literal["auto", "cpu", "cuda"]
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
#: Other programs share the GPU: the arena grows by what is asked for instead of doubling, and
#: is capped. Exhaustive search for convolution algorithms would be repeated for every length.
#: With ten bits of mantissa, as TF32 has, masks depended on what else was in the batch: by 1.4e-3.
_CUDA_OPTIONS = {
    "gpu_mem_limit": str(4 << 30),
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",
    "use_tf32": "0",
}
_CAPTURE = "enable_cuda_graph"


def open_session(
    graph: Path, device: Device, threads: int, capture: bool = True, spinning: bool = True
) -> Any:
    """A session of a graph.

    On CUDA it captures calls as CUDA graphs if every node was placed there.

    Args:
        graph: An ONNX file.
        device: "cpu", "cuda", or "auto": CUDA where ONNX Runtime can really use it; where it is
            listed and cannot be used, one warning says so.
        threads: Threads inside one call on the CPU; 0 takes all cores.
        capture: Whether CUDA graphs are wanted.
        spinning: Whether threads that wait for work keep their cores: a tenth quicker where
            nothing else runs, half as quick where something does.

    Raises:
        DeviceError: "cuda" was asked for and cannot be had, or ONNX Runtime is missing.
        BundleError: The graph cannot be loaded.
        ValueError: The device is unknown.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', not {device!r}")
    try:
        import onnxruntime
    except ImportError:
        raise DeviceError(
            "ONNX Runtime is not installed; install audiosep with the extra 'cpu' or 'gpu', "
            "for example: pip install 'audiosep[cpu]'"
        ) from None
    has_cuda = CUDA in onnxruntime.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise DeviceError(
            "this ONNX Runtime has no CUDA provider; install audiosep with the extra 'gpu' "
            "instead of 'cpu', or use --device cpu"
        )
    if device == "cpu" or not has_cuda:
        return _load(onnxruntime, graph, threads, [CPU], spinning)
    # The provider is listed wherever the wheel was built with it; only a session tells whether
    # its libraries and a GPU are there.
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    thread = own_thread(CUDA)
    assert thread is not None
    session = thread.submit(_load_on_cuda, onnxruntime, graph, threads, capture).result()
    if session is not None and session.get_providers()[0] == CUDA:
        return session
    message = (
        "ONNX Runtime could not start CUDA (its libraries or a GPU are missing); "
        "'audiosep doctor' tells which"
    )
    if device == "cuda":
        raise DeviceError(message)
    # Three frames up is who made the estimator.
    warnings.warn(f"{message}; running on the CPU", stacklevel=4)
    return session or _load(onnxruntime, graph, threads, [CPU], spinning)


def usable_providers(graph: Path) -> list[str]:
    """Execution providers that really run a graph on this machine, the preferred one first."""
    try:
        open_session(graph, "cuda", 0)
    except DeviceError:
        return [CPU]
    return [CUDA, CPU]


def captures(session: Any) -> bool:
    """Whether a session captures its calls as CUDA graphs."""
    return session.get_provider_options().get(CUDA, {}).get(_CAPTURE) == "1"


@functools.cache
def own_thread(provider: str) -> Executor | None:
    """The thread that all calls of a provider belong on; None where every thread will do.

    ONNX Runtime keeps handles and captured graphs of CUDA with the thread that made them, so
    what one thread has warmed up is cold for another; and while a graph is captured, most calls
    of CUDA from other threads of the process fail.
    """
    return ThreadPoolExecutor(1, "audiosep-cuda") if provider == CUDA else None


def _load_on_cuda(onnxruntime: Any, graph: Path, threads: int, capture: bool) -> Any:
    """A session that captures CUDA graphs if that is wanted, else one that does not, else None."""
    captured: list[Any] = [(CUDA, {**_CUDA_OPTIONS, _CAPTURE: "1"})]
    ordinary: list[Any] = [(CUDA, _CUDA_OPTIONS), CPU]
    for providers in (captured, ordinary) if capture else (ordinary,):
        try:
            return _load(onnxruntime, graph, threads, providers)
        except BundleError:
            continue
    return None


def _load(
    onnxruntime: Any, graph: Path, threads: int, providers: list[Any], spinning: bool = True
) -> Any:
    options = onnxruntime.SessionOptions()
    # Warnings about node placement would land on the terminal of every user.
    options.log_severity_level = 3 if providers == [CPU] else 4
    # A plan for each length would set aside twice what a call needs, and is no quicker.
    options.enable_mem_pattern = False
    options.intra_op_num_threads = threads or (os.cpu_count() or 1)
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    if CPU not in providers:
        # Without it, whatever CUDA cannot run is placed on the CPU unasked.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        with warnings.catch_warnings():
            # ONNX Runtime's own words on a provider that it lacks; ours say what to do.
            warnings.simplefilter("ignore")
            return onnxruntime.InferenceSession(
                str(graph), options, providers=providers, enable_fallback=0
            )
    except Exception as error:
        raise BundleError(
            f"ONNX Runtime cannot load {graph}: {str(error).splitlines()[0]}; export it again"
        ) from None

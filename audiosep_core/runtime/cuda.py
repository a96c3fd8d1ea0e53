"""What CUDA needs to run: the driver, its libraries, and versions that fit one another."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import io
import sys

_WINDOWS = sys.platform == "win32"
_CUDNN = 9
#: CUDA major to the first NVIDIA driver that runs it (NVIDIA, "CUDA Compatibility", table 1).
DRIVERS = {11: 450, 12: 525, 13: 580}
#: CUDA major to the onnxruntime-gpu on PyPI that is built for it.
WHEELS = {12: ">=1.19,<1.27", 13: ">=1.27"}


@dataclasses.dataclass(frozen=True)
class CudaState:
    """What was found on this machine.

    Attributes:
        built_for: Major version of CUDA that ONNX Runtime was built for; 0 for a CPU build.
        driver: Highest version of CUDA that the installed driver runs; None without a driver.
        devices: GPUs that the driver offers.
        cuda: Version of the CUDA runtime that is loaded, or "".
        cudnn: Version of cuDNN that is loaded, or "".
        missing: Libraries that ONNX Runtime needs and the system cannot load.
    """

    built_for: int = 0
    driver: tuple[int, int] | None = None
    devices: int = 0
    cuda: str = ""
    cudnn: str = ""
    missing: tuple[str, ...] = ()


def probe_cuda(built_for: int) -> CudaState:
    """Look at the driver, and at the libraries that a GPU build of ONNX Runtime needs.

    Args:
        built_for: Major version of CUDA that ONNX Runtime was built for; 0 for a CPU build,
            which needs no libraries.
    """
    driver, devices = _driver()
    if not built_for:
        return CudaState(driver=driver, devices=devices)
    _preload()
    missing = tuple(name for name in libraries(built_for) if _load(name) is None)
    return CudaState(
        built_for,
        driver,
        devices,
        cuda=_cuda_version(built_for),
        cudnn=_cudnn_version(),
        missing=missing,
    )


def libraries(cuda: int) -> list[str]:
    """File names of the libraries that ONNX Runtime's CUDA provider loads.

    Args:
        cuda: Major version of CUDA.
    """
    # cuFFT counts by itself: 11 goes with CUDA 12, 12 with CUDA 13.
    versions = {"cudart": cuda, "cublasLt": cuda, "cublas": cuda, "cufft": cuda - 1}
    if not _WINDOWS:
        versions["curand"] = 10
    return [_file(name, version) for name, version in (versions | {"cudnn": _CUDNN}).items()]


def _file(name: str, version: int) -> str:
    return f"{name}64_{version}.dll" if _WINDOWS else f"lib{name}.so.{version}"


def _load(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _preload() -> None:
    """Let ONNX Runtime load what pip has installed, as it does before a session."""
    import onnxruntime

    # It prints what it does not find; this module reports that itself.
    with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()


def _driver() -> tuple[tuple[int, int] | None, int]:
    library = _load("nvcuda.dll" if _WINDOWS else "libcuda.so.1")
    if library is None or library.cuInit(0) != 0:
        return None, 0
    version, devices = ctypes.c_int(), ctypes.c_int()
    if library.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None, 0
    library.cuDeviceGetCount(ctypes.byref(devices))
    return (version.value // 1000, version.value % 1000 // 10), devices.value


def _cuda_version(major: int) -> str:
    library = _load(_file("cudart", major))
    version = ctypes.c_int()
    if library is None or library.cudaRuntimeGetVersion(ctypes.byref(version)) != 0:
        return ""
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def _cudnn_version() -> str:
    library = _load(_file("cudnn", _CUDNN))
    if library is None:
        return ""
    library.cudnnGetVersion.restype = ctypes.c_size_t
    number = library.cudnnGetVersion()
    return f"{number // 10000}.{number % 10000 // 100}.{number % 100}"

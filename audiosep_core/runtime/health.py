"""Which ONNX Runtime is installed, whether CUDA can be used, and what repairs either."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Literal

from audiosep_core.runtime.cuda import DRIVERS, WHEELS, CudaState
from audiosep_core.runtime.device import CUDA

Severity = Literal["ok", "note", "problem"]
#: Distributions that all install the module ``onnxruntime``, each over the others.
RUNTIMES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-training",
    "ort-nightly",
    "ort-nightly-gpu",
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: What was looked at.
        level: "problem" makes the installation unhealthy, "note" does not.
        detail: What was found.
        remedy: The command or step that repairs it.
        values: The same as numbers and names, for programs.
    """

    subject: str
    level: Severity
    detail: str
    remedy: str = ""
    values: dict[str, Any] = dataclasses.field(default_factory=dict)


def check_runtime(runtimes: dict[str, str], state: CudaState) -> tuple[Finding, int | None]:
    """Which ONNX Runtime is installed, and whether it is only one.

    Args:
        runtimes: Distribution to version, of those that are installed.
        state: The driver at least.

    Returns:
        What was found, and the major version of CUDA that it was built for: 0 for a CPU build,
        None where it cannot be used.
    """
    extra = "gpu" if state.devices else "cpu"
    install = f'pip install "audiosep[{extra}]"'
    remove = f"pip uninstall -y {' '.join(runtimes)} && {install}"
    listed = ", ".join(f"{name} {version}" for name, version in runtimes.items())
    values: dict[str, Any] = {"installed": runtimes}
    try:
        onnxruntime: Any = importlib.import_module("onnxruntime")
        available = onnxruntime.get_available_providers()
    # A half overwritten package fails in many ways: ImportError, AttributeError, OSError.
    except Exception as error:
        if not runtimes:
            text = "is not installed"
            return Finding("ONNX Runtime", "problem", text, install, values), None
        text = f"{listed} cannot be loaded ({error})"
        return Finding("ONNX Runtime", "problem", text, remove, values), None
    values |= {"version": onnxruntime.__version__, "available": available}
    # GPU builds before 1.21 do not tell; they are built for CUDA 12.
    cuda = getattr(onnxruntime, "cuda_version", "12") if CUDA in available else ""
    built_for = int(cuda.partition(".")[0] or 0)
    # What is left of two wheels after one of them was removed.
    content = getattr(onnxruntime, "package_name", "")
    mixed = bool(runtimes) and content in RUNTIMES and content not in runtimes
    if len(runtimes) > 1 or mixed:
        fault = f"holds the files of {content}" if mixed else "are installed over each other"
        text = f"{listed} {fault}"
        return Finding("ONNX Runtime", "problem", text, remove, values), built_for
    kind = f"built for CUDA {cuda}" if built_for else "CPU build"
    text = f"{listed or onnxruntime.__version__}, {kind}"
    return Finding("ONNX Runtime", "ok", text, values=values), built_for


def check_cuda(state: CudaState, runtimes: Sequence[str] | dict[str, str]) -> list[Finding]:
    """Whether CUDA can be used, and the one step that makes it so.

    Args:
        state: As :func:`audiosep_core.runtime.cuda.probe_cuda` finds it.
        runtimes: Installed distributions of ONNX Runtime.
    """
    values = dataclasses.asdict(state)
    remove = f"pip uninstall -y {' '.join(runtimes)}"
    if state.driver is None or not state.devices:
        there = "no NVIDIA driver" if state.driver is None else "the NVIDIA driver offers no GPU"
        if not state.built_for:
            return [Finding("CUDA", "ok", f"{there}, and none is needed", values=values)]
        remedy = f'{remove} && pip install "audiosep[cpu]"'
        text = f"{there}: the GPU build of ONNX Runtime falls back to the CPU"
        return [Finding("CUDA", "problem", text, remedy, values)]
    driver = f"driver for CUDA {state.driver[0]}.{state.driver[1]}, {state.devices} GPU"
    if not state.built_for:
        remedy = f'{remove} && pip install "audiosep[gpu]"'
        text = f"{driver}, but ONNX Runtime is a CPU build"
        return [Finding("CUDA", "note", text, remedy, values)]
    if state.driver[0] < state.built_for:
        text = f"{driver}, but ONNX Runtime is built for CUDA {state.built_for}"
        wheel = WHEELS.get(state.driver[0])
        remedy = f"install an NVIDIA driver from {DRIVERS.get(state.built_for, 580)} on"
        if wheel:
            remedy = f'pip install "onnxruntime-gpu[cuda,cudnn]{wheel}", or {remedy}'
        return [Finding("CUDA", "problem", text, remedy, values)]
    if state.missing:
        text = f"{driver}, but these libraries are missing: {', '.join(state.missing)}"
        version = f"=={version_of('onnxruntime-gpu')}" if "onnxruntime-gpu" in runtimes else ""
        remedy = f'pip install "onnxruntime-gpu[cuda,cudnn]{version}"'
        return [Finding("CUDA", "problem", text, remedy, values)]
    text = f"{driver}, CUDA {state.cuda}, cuDNN {state.cudnn}"
    return [Finding("CUDA", "ok", text, values=values)]


def version_of(distribution: str) -> str:
    """The version of an installed distribution; empty where it is not there."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""

"""Examines an installation: what is there, what runs where, and what to do about the rest."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import platform
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

from audiosep_core.cuda import DRIVERS, WHEELS, CudaState, probe_cuda
from audiosep_core.device import CPU, CUDA
from audiosep_core.errors import AudioSepError
from audiosep_core.models import DEFAULT_MODEL

Level = Literal["ok", "note", "problem"]
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
_LARGEST_NULL = 1e-6
_QUERY = "a person speaking"
_RATE = 44_100


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
    level: Level
    detail: str
    remedy: str = ""
    values: dict[str, Any] = dataclasses.field(default_factory=dict)


def examine(model: str | Path = DEFAULT_MODEL) -> Iterator[Finding]:
    """Examine the installation; findings come as they are made, the slow ones last.

    Args:
        model: The model to run.
    """
    yield from _software()
    state = probe_cuda(0)
    runtimes = {name: version for name in RUNTIMES if (version := _version(name))}
    runtime, built_for = check_runtime(runtimes, state)
    yield runtime
    if built_for is None:
        return
    yield from check_cuda(probe_cuda(built_for), runtimes)
    yield from _check_model(model)


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
        state: As :func:`audiosep_core.cuda.probe_cuda` finds it.
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
        version = f"=={_version('onnxruntime-gpu')}" if "onnxruntime-gpu" in runtimes else ""
        remedy = f'pip install "onnxruntime-gpu[cuda,cudnn]{version}"'
        return [Finding("CUDA", "problem", text, remedy, values)]
    text = f"{driver}, CUDA {state.cuda}, cuDNN {state.cudnn}"
    return [Finding("CUDA", "ok", text, values=values)]


def _software() -> Iterator[Finding]:
    from audiosep_core import __version__

    system = f"{platform.python_version()} on {platform.platform(terse=True)}"
    yield Finding("Python", "ok", f"{system}, {platform.machine()}")
    yield Finding("audiosep", "ok", __version__)
    for name, remedy in {
        "soundfile": "pip install --force-reinstall soundfile",
        "soxr": "pip install --force-reinstall soxr",
        "tokenizers": "pip install --force-reinstall tokenizers",
    }.items():
        try:
            module: Any = importlib.import_module(name)
        # soundfile raises OSError where libsndfile is missing.
        except (ImportError, OSError) as error:
            yield Finding(name, "problem", f"cannot be loaded ({error})", remedy)
            continue
        library = getattr(module, "__libsndfile_version__", "")
        yield Finding(name, "ok", _version(name) + (f", libsndfile {library}" if library else ""))
    for name, use in {"pedalboard": "for plug-ins", "torch": "for training and export"}.items():
        # Importing torch takes seconds and is not needed to know that it is there.
        yield Finding(name, "ok", _version(name) or f"not installed, only needed {use}")


def _check_model(model: str | Path) -> Iterator[Finding]:
    """Place every node of the model, then separate a second of noise."""
    from audiosep_core.separator import Separator

    subject = f"model {model}"
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            separator = Separator(model)
    except AudioSepError as error:
        yield Finding(subject, "problem", str(error))
        return
    for warning in caught:
        yield Finding(subject, "note", str(warning.message))
    with _as_finding("node placement") as failed:
        yield _place(separator)
    with _as_finding("self test") as failed_too:
        yield _separate(separator)
    yield from [*failed, *failed_too]


@contextlib.contextmanager
def _as_finding(subject: str) -> Iterator[list[Finding]]:
    """Turn whatever goes wrong into a finding: the report has to come to its end."""
    failed: list[Finding] = []
    try:
        yield failed
    except Exception as error:
        remedy = "reinstall ONNX Runtime, or report this"
        failed.append(Finding(subject, "problem", f"failed ({error})", remedy))


def _place(separator: Any) -> Finding:
    from audiosep_core.bundle import SEPARATOR
    from audiosep_core.placement import node_placement

    config, provider = separator.bundle.config, separator.estimator.provider
    feed = {
        "magnitude": np.ones((1, 1, config.frame_multiple, config.bins), np.float32),
        "condition": np.zeros((1, config.condition_size), np.float32),
    }
    graph = separator.bundle.path(SEPARATOR)
    placement = node_placement(graph, list(dict.fromkeys([provider, CPU])), feed)
    nodes = {name: sum(operators.values()) for name, operators in placement.items()}
    text = ", ".join(f"{count} nodes on {name}" for name, count in nodes.items())
    level: Level = "ok" if set(nodes) == {provider} else "note"
    return Finding("node placement", level, text, values=placement)


def _separate(separator: Any) -> Finding:
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, _RATE)).astype(np.float32)
    # The first run includes what is done once.
    for _ in range(2):
        started = time.perf_counter()
        stems = separator.separate(noise, _RATE, [_QUERY])
        seconds = time.perf_counter() - started
    null = float(np.abs(noise - sum(stems.values())).max())
    values = {"null": null, "real_time_factor": seconds}
    text = f"1 s of stereo noise in {seconds:.2f} s, stems differ from it by {null:.0e} in sum"
    if not null <= _LARGEST_NULL:
        remedy = "reinstall audiosep and ONNX Runtime, or report this"
        return Finding("self test", "problem", text, remedy, values)
    return Finding("self test", "ok", text, values=values)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""

"""Examines an installation: what is there, what runs where, and what to do about the rest."""

from __future__ import annotations

import contextlib
import importlib
import platform
import time
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from packaging.requirements import Requirement

from audiosep_core.errors import AudioSepError
from audiosep_core.extras import install_command
from audiosep_core.model.installed import DEFAULT_MODEL
from audiosep_core.runtime.cuda import probe_cuda
from audiosep_core.runtime.device import CPU
from audiosep_core.runtime.health import (
    RUNTIMES,
    Finding,
    Severity,
    check_cuda,
    check_runtime,
    version_of,
)

#: What the extras are for; the runtime's (cpu, gpu) and the developer's (dev) are not listed.
EXTRAS = {
    "plots": "pictures",
    "export": "exports, released models, packs of queries",
    "train": "corpora, training, evaluation",
    "evaluate": "PESQ and STOI",
    "compare": "speech enhancers to compare with",
    "pedalboard": "SeparationBoard",
    "desk": "the page of audiosep desk",
    "listen": "sound devices for audiosep listen",
    "ray": "runs over several machines",
}
_LARGEST_NULL = 1e-6
_QUERY = "a person speaking"
_RATE = 44_100


def examine(model: str | Path = DEFAULT_MODEL) -> Iterator[Finding]:
    """Examine the installation; findings come as they are made, the slow ones last.

    Args:
        model: The model to run.
    """
    yield from _software()
    state = probe_cuda(0)
    runtimes = {name: version for name in RUNTIMES if (version := version_of(name))}
    runtime, built_for = check_runtime(runtimes, state)
    yield runtime
    if built_for is None:
        return
    yield from check_cuda(probe_cuda(built_for), runtimes)
    yield from _check_model(model)


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
        yield Finding(name, "ok", version_of(name) + (f", libsndfile {library}" if library else ""))
    yield from _check_extras()


def _check_extras() -> Iterator[Finding]:
    for extra, use in EXTRAS.items():
        wanted = _distributions(extra)
        # Nothing is imported: torch takes seconds, and its version tells that it is there.
        installed = {name: version for name in wanted if (version := version_of(name))}
        missing = [name for name in wanted if name not in installed]
        if missing:
            text = f"{use}: {install_command(extra)} adds {', '.join(missing)}"
        else:
            text = f"{use}: " + ", ".join(f"{name} {installed[name]}" for name in wanted)
        values = {"installed": installed, "missing": missing}
        yield Finding(f"[{extra}]", "ok", text, values=values)


def _distributions(extra: str) -> list[str]:
    """What an extra of audiosep installs on this system, by the names on the package index."""
    try:
        lines = metadata.requires("audiosep") or []
    except metadata.PackageNotFoundError:
        return []
    names: dict[str, None] = {}
    for requirement in map(Requirement, lines):
        if requirement.marker is None or not requirement.marker.evaluate({"extra": extra}):
            continue
        if requirement.name == "audiosep":
            for inner in sorted(requirement.extras):
                names.update(dict.fromkeys(_distributions(inner)))
        else:
            names[requirement.name] = None
    return sorted(names)


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
    from audiosep_core.model.bundle import SEPARATOR
    from audiosep_core.model.streaming_config import StreamingConfig
    from audiosep_core.runtime.placement import example_feed, node_placement

    config, provider = separator.bundle.config, separator.estimator.provider
    steps = isinstance(config, StreamingConfig)
    frames = config.step_frames if steps else config.frame_multiple
    graph = separator.bundle.path(SEPARATOR)
    providers = list(dict.fromkeys([provider, CPU]))
    placement = node_placement(graph, providers, example_feed(graph, frames))
    nodes = {name: sum(operators.values()) for name, operators in placement.items()}
    text = ", ".join(f"{count} nodes on {name}" for name, count in nodes.items())
    level: Severity = "ok" if set(nodes) == {provider} else "note"
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

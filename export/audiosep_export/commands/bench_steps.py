"""``audiosep bench steps``: a streaming network step by step, in buffers that stay on the device.

What a GPU is proven with: where every node runs, captured CUDA graphs against plain calls, half
precision against single, and how many streams one device keeps up with.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import TensorProto, numpy_helper

from audiosep_core.commands.console import console, device_option
from audiosep_core.errors import UsageError
from audiosep_core.model.bundle import SEPARATOR
from audiosep_core.model.installed import open_model
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.runtime.device import CPU, CUDA, Device, captures, open_session, own_thread
from audiosep_core.runtime.placement import node_placement
from audiosep_core.runtime.prepared import UNCAPTURED, run_options
from audiosep_core.runtime.steps import StepNetwork
from audiosep_export.graphs.streaming_graph import STATE_IN, STATE_OUT

_BATCHES = (1, 4, 16, 64)
_WARM_UP_CALLS = 10
#: Of the time between two steps, what the slowest calls may take.
_SHARE = 0.5


@click.command(
    epilog="""\b
Examples:
  audiosep bench steps --model live --device cuda --json > steps.json
  audiosep bench steps --model mini --device cpu --calls 100
"""
)
@click.option(
    "--model", default="live", show_default=True, metavar="NAME_OR_PATH", help="A streaming model."
)
@device_option
@click.option("--calls", default=4000, show_default=True, type=click.IntRange(min=1))
@click.option("--threads", default=1, show_default=True, help="Of the network on the CPU.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(model: str, device: Device, calls: int, threads: int, as_json: bool) -> None:
    """Time single steps of 1 to 64 queries, each with a state that never leaves the device.

    Magnitudes go to the device and masks come back within the time. On CUDA every node must run
    there, or the command ends with 1.
    """
    bundle = open_model(model)
    if not isinstance(bundle.config, StreamingConfig):
        raise UsageError(f"the model {bundle.name} has no steps; give a streaming one")
    network = StepNetwork(bundle, device, threads)
    shape = (max(_BATCHES), bundle.config.condition_size)
    conditions = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    conditions /= np.linalg.norm(conditions, axis=1, keepdims=True)
    film = network.start(conditions).film
    step_frames = bundle.config.step_frames
    step_ms = 1000 * step_frames / bundle.config.frame_rate
    on_gpu = network.provider == CUDA
    del network
    found: dict[str, Any] = {
        "model": bundle.name,
        "device": "cuda" if on_gpu else "cpu",
        "step_ms": step_ms,
        "runs": [],
    }
    with tempfile.TemporaryDirectory() as temporary, console.status("running steps"):
        graphs = {"fp32": bundle.path(SEPARATOR)}
        if on_gpu:
            graphs["fp16"] = half_precision(graphs["fp32"], Path(temporary) / SEPARATOR)
        reference: NDArray[np.floating] | None = None
        for precision, graph in graphs.items():
            dtype = np.float16 if precision == "fp16" else np.float32
            feeds = [_first_feed(graph, film[:rows], step_frames, dtype) for rows in _BATCHES]
            places = node_placement(graph, [CUDA, CPU] if on_gpu else [CPU], feeds[0])
            found[f"nodes_{precision}"] = {
                provider: sum(nodes.values()) for provider, nodes in places.items()
            }
            for captured, feed in itertools.product((False, True) if on_gpu else (False,), feeds):
                steps = _Steps(graph, feed, device, threads, captured)
                seconds, mask = steps.measure(calls)
                reference = mask if reference is None else reference
                rows, kind = len(mask), {"precision": precision, "captured": steps.captured}
                found["runs"].append(
                    kind
                    | _figures(seconds, rows, step_ms)
                    | {
                        "mask_differs": float(
                            np.abs(mask[:1].astype(np.float64) - reference[:1]).max()
                        )
                    }
                )
    _show(found, as_json)
    elsewhere = {
        provider
        for name, places in found.items()
        if name.startswith("nodes_")
        for provider in places
        if provider != CUDA
    }
    if on_gpu and elsewhere:
        raise click.ClickException(f"some nodes run on {', '.join(sorted(elsewhere))}")


def _figures(seconds: NDArray[np.float64], rows: int, step_ms: float) -> dict[str, float]:
    """Percentiles of the calls, and how many streams of a query keep up at that batch."""
    shares = {f"p{share:g}_ms": 1000 * np.percentile(seconds, share) for share in (50, 99, 99.9)}
    keeps_up = shares["p99.9_ms"] <= _SHARE * step_ms
    streams = int(rows * step_ms / shares["p50_ms"]) if keeps_up else 0
    figures = {name: round(float(value), 4) for name, value in shares.items()}
    return {"queries": rows, **figures, "streams": streams}


def half_precision(graph: Path, target: Path) -> Path:
    """Write a step graph with all floats in half precision, inputs and outputs among them."""
    model = onnx.load(graph)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            # What guards against a division by zero must not become zero.
            least = np.where(values > 0, np.finfo(np.float16).tiny, -np.inf)
            tensor.CopyFrom(
                numpy_helper.from_array(np.maximum(values, least).astype(np.float16), tensor.name)
            )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    del model.graph.value_info[:]
    onnx.save(model, target)
    return target


class _Steps:
    """A step whose state goes to and fro between two sets of buffers on the device.

    Args:
        graph: Of a step.
        feed: Inputs of the first step.
        device, threads: As in :func:`audiosep_core.runtime.device.open_session`.
        captured: Replay CUDA graphs, one for each direction.
    """

    def __init__(
        self,
        graph: Path,
        feed: dict[str, NDArray[np.floating]],
        device: Device,
        threads: int,
        captured: bool,
    ) -> None:
        self._session = open_session(graph, device, threads, capture=captured)
        self.provider: str = self._session.get_providers()[0]
        self.captured = captured and captures(self._session)
        self._feed = feed

    def measure(self, calls: int) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
        """Seconds of every call, and the mask of the last one; on the thread of its provider."""
        thread = own_thread(self.provider)
        return (
            self._measure(calls) if thread is None else thread.submit(self._measure, calls).result()
        )

    def _measure(self, calls: int) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
        bindings, magnitude, masks = self._bind()
        options = [run_options(number if self.captured else UNCAPTURED) for number in (1, 2)]
        frames = self._feed["magnitude"]
        seconds = np.zeros(calls)
        mask = np.zeros(0)
        for call in range(-_WARM_UP_CALLS, calls):
            started = time.perf_counter()
            magnitude.update_inplace(frames)
            self._session.run_with_iobinding(bindings[call % 2], options[call % 2])
            mask = masks[call % 2].numpy()
            if call >= 0:
                seconds[call] = time.perf_counter() - started
        return seconds, np.array(mask)

    def _bind(self) -> tuple[list[Any], Any, list[Any]]:
        from onnxruntime import OrtValue

        memory = "cuda" if self.provider == CUDA else "cpu"

        def buffer(values: NDArray[np.floating]) -> Any:
            return OrtValue.ortvalue_from_numpy(values.copy(), memory)

        frames = self._feed["magnitude"]
        magnitude, film = buffer(frames), buffer(self._feed["film"])
        states = {name: value for name, value in self._feed.items() if name.startswith(STATE_IN)}
        ends = [{name: buffer(value) for name, value in states.items()} for _ in range(2)]
        masks = [buffer(np.repeat(frames, 3, 1)) for _ in range(2)]
        bindings = []
        for turn in range(2):
            binding = self._session.io_binding()
            binding.bind_ortvalue_input("magnitude", magnitude)
            binding.bind_ortvalue_input("film", film)
            binding.bind_ortvalue_output("mask", masks[turn])
            for name in states:
                after = STATE_OUT + name.removeprefix(STATE_IN)
                binding.bind_ortvalue_input(name, ends[turn][name])
                binding.bind_ortvalue_output(after, ends[1 - turn][name])
            bindings.append(binding)
        return bindings, magnitude, masks


def _first_feed(
    graph: Path, film: NDArray[np.float32], frames: int, dtype: DTypeLike
) -> dict[str, NDArray[np.floating]]:
    """Noise for every query of ``film``, and a state that has heard nothing."""
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in onnx.load(graph).graph.input
    }
    rows = len(film)
    feed = {name: np.zeros((rows, *shape[1:]), dtype) for name, shape in shapes.items()}
    noise = np.random.default_rng(1).standard_normal((1, 1, frames, shapes["magnitude"][3]))
    feed["magnitude"] = np.repeat(np.abs(noise), rows, 0).astype(dtype)
    feed["film"] = film.astype(dtype)
    return feed


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"{found['model']} on {found['device']}, a step every {found['step_ms']:.2f} ms")
    for name in (name for name in found if name.startswith("nodes_")):
        places = ", ".join(f"{count} on {provider}" for provider, count in found[name].items())
        click.echo(f"nodes in {name.removeprefix('nodes_')}: {places}")
    for run in found["runs"]:
        kind = run["precision"] + (", captured" if run["captured"] else "")
        click.echo(
            f"{kind:<15} {run['queries']:>3} queries   p50 {run['p50_ms']:7.3f}   p99 "
            f"{run['p99_ms']:7.3f}   p99.9 {run['p99.9_ms']:7.3f} ms   {run['streams']} streams"
        )

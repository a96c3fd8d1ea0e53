"""``audiosep bench network``: PyTorch and the exported graph on the same weights, in turns."""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime
import torch

from audiosep_core.model.config import CONFIGS, NetworkConfig
from audiosep_core.model.network import SeparatorNetwork, build_network
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.model.streaming_network import StreamingNetwork
from audiosep_export.graphs.separator_graph import separator_model
from audiosep_export.graphs.streaming_graph import STATE_IN, condition_model, step_model

_MATRIX = 2048


def multiply_accumulates(net: SeparatorNetwork | StreamingNetwork, magnitude: torch.Tensor) -> int:
    """Products of the network's convolutions and recurrence, for one (batch, 1, frames, bins)."""
    total = 0

    def count(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, torch.nn.GRU):
            sizes = [part.numel() for part in module.parameters() if part.ndim > 1]
            total += sum(sizes) * inputs[0].shape[0] * inputs[0].shape[1]
            return
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        positions = inputs[0] if isinstance(module, torch.nn.ConvTranspose2d) else output
        total += weight.numel() * positions.shape[0] * positions.shape[2] * positions.shape[3]

    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.GRU)
    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, kinds)]
    condition = torch.zeros(magnitude.shape[0], net.config.condition_size)
    with torch.inference_mode():
        _mask(net, magnitude, condition)
    for hook in hooks:
        hook.remove()
    return total


def _mask(
    net: SeparatorNetwork | StreamingNetwork, magnitude: torch.Tensor, condition: torch.Tensor
) -> torch.Tensor:
    if isinstance(net, StreamingNetwork):
        return net(magnitude, condition)
    return net.mask(magnitude, condition)


def _session(model: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Threads that spin after a call would take their cores from the next contestant.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _exported(
    net: SeparatorNetwork | StreamingNetwork,
    magnitude: torch.Tensor,
    condition: torch.Tensor,
    threads: int,
) -> Callable[[], object]:
    """One call of the exported graph; a streaming network's query is computed beforehand."""
    if not isinstance(net, StreamingNetwork):
        session = _session(separator_model(net), threads)
        feed = {"magnitude": magnitude.numpy(), "condition": condition.numpy()}
        return lambda: session.run(None, feed)
    session = _session(step_model(net), threads)
    film = _session(condition_model(net), threads).run(None, {"condition": condition.numpy()})[0]
    feed = {"magnitude": magnitude.numpy(), "film": film}
    for value in session.get_inputs():
        if value.name.startswith(STATE_IN):
            feed[value.name] = np.zeros((1, *value.shape[1:]), np.float32)
    return lambda: session.run(None, feed)


def time_network(
    config: NetworkConfig, seconds: float, rounds: int, threads: int
) -> dict[str, Any]:
    """Time PyTorch, the graph and a matrix product in turns, so that all meet the same machine.

    Args:
        config: Of the network, which gets random weights.
        seconds: Of audio in one call, rounded up to whole cells or steps of the network.
        rounds: How often each is timed, after one call to warm up.
        threads: Of each.

    Returns:
        Plain JSON types; times are medians, ``ratio`` is that of the medians.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net = build_network(config).eval()
    if isinstance(config, StreamingConfig):
        frame_rate, multiple = float(config.frame_rate), config.step_frames
    else:
        frame_rate, multiple = config.sample_rate / config.hop_length, config.frame_multiple
    frames = math.ceil(round(seconds * frame_rate) / multiple) * multiple
    magnitude = torch.rand(1, 1, frames, config.bins)
    condition = torch.randn(1, config.condition_size)
    products = multiply_accumulates(net, magnitude)
    matrix = torch.rand(_MATRIX, _MATRIX)

    def eager() -> None:
        with torch.inference_mode():
            _mask(net, magnitude, condition)

    contestants: dict[str, Callable[[], object]] = {
        "matrix": lambda: matrix @ matrix,
        "eager": eager,
        "exported": _exported(net, magnitude, condition, threads),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            if number:
                times[name].append(time.perf_counter() - started)
    median = {name: statistics.median(values) for name, values in times.items()}
    duration = frames / frame_rate
    return {
        "network": config.name,
        "seconds_of_audio": duration,
        "threads": threads,
        "rounds": rounds,
        "gflop": 2 * products / 1e9,
        "seconds": times,
        "eager_real_time_factor": median["eager"] / duration,
        "exported_real_time_factor": median["exported"] / duration,
        "ratio": median["eager"] / median["exported"],
        "paired_ratios": [
            slow / fast for slow, fast in zip(times["eager"], times["exported"], strict=True)
        ],
        "eager_gflops": 2 * products / median["eager"] / 1e9,
        "exported_gflops": 2 * products / median["exported"] / 1e9,
        "matrix_gflops": 2 * _MATRIX**3 / median["matrix"] / 1e9,
    }


@click.command()
@click.option(
    "--config",
    type=click.Choice(sorted(CONFIGS)),
    default="audiosep-base",
    show_default=True,
    help="Shape of the network; its weights are random.",
)
@click.option("--seconds", default=5.12, show_default=True, help="Of audio in one call.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--threads", default=0, help="0 takes all cores.  [default: 0]")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(config: str, seconds: float, rounds: int, threads: int, as_json: bool) -> None:
    """Time the network in PyTorch (eager, float32) and as exported, in turns."""
    result = time_network(CONFIGS[config], seconds, rounds, threads or os.cpu_count() or 1)
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    click.echo(
        f"{config}, {result['seconds_of_audio']:.2f} s of audio, {result['threads']} threads, "
        f"median of {rounds}"
    )
    for name, title in (("eager", "PyTorch eager"), ("exported", "exported graph")):
        click.echo(
            f"  {title:<16} {np.median(result['seconds'][name]):7.3f} s   real-time factor "
            f"{result[f'{name}_real_time_factor']:.3f}   {result[f'{name}_gflops']:.0f} GFLOP/s"
        )
    click.echo(f"  {'matrix product':<16} {result['matrix_gflops']:41.0f} GFLOP/s")
    click.echo(f"  the exported graph is {result['ratio']:.2f} times as fast as PyTorch")

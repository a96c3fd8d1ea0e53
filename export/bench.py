"""``audiosep bench network``: PyTorch and the exported graph on the same weights, in turns."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import onnxruntime
import torch

from audiosep_core.config import CONFIGS, SeparatorConfig
from audiosep_core.network import SeparatorNetwork, build_network
from export.graph import separator_model

_MATRIX = 2048


def multiply_accumulates(net: SeparatorNetwork, magnitude: torch.Tensor) -> int:
    """Products that the network's convolutions take for one input (batch, 1, frames, bins)."""
    total = 0

    def count(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        positions = inputs[0] if isinstance(module, torch.nn.ConvTranspose2d) else output
        total += weight.numel() * positions.shape[0] * positions.shape[2] * positions.shape[3]

    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, kinds)]
    condition = torch.zeros(magnitude.shape[0], net.config.condition_size)
    with torch.inference_mode():
        net.mask(magnitude, condition)
    for hook in hooks:
        hook.remove()
    return total


def measure(config: SeparatorConfig, seconds: float, rounds: int, threads: int) -> dict[str, Any]:
    """Time PyTorch, the graph and a matrix product in turns, so that all meet the same machine.

    Args:
        config: Of the network, which gets random weights.
        seconds: Of audio in one call, rounded up to whole cells of the network.
        rounds: How often each is timed, after one call to warm up.
        threads: Of each.

    Returns:
        Plain JSON types; times are medians, ``ratio`` is that of the medians.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net = build_network(config).eval()
    frames = config.padded_frames(round(seconds * config.sample_rate / config.hop))
    magnitude = torch.rand(1, 1, frames, config.bins)
    condition = torch.randn(1, config.condition_size)
    products = multiply_accumulates(net, magnitude)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Threads that spin after a call would take their cores from the next contestant.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        separator_model(net).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {"magnitude": magnitude.numpy(), "condition": condition.numpy()}
    matrix = torch.rand(_MATRIX, _MATRIX)

    def eager() -> None:
        with torch.inference_mode():
            net.mask(magnitude, condition)

    contestants: dict[str, Callable[[], object]] = {
        "matrix": lambda: matrix @ matrix,
        "eager": eager,
        "exported": lambda: session.run(None, feed),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            if number:
                times[name].append(time.perf_counter() - started)
    median = {name: statistics.median(values) for name, values in times.items()}
    duration = frames * config.hop / config.sample_rate
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
    result = measure(CONFIGS[config], seconds, rounds, threads or os.cpu_count() or 1)
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

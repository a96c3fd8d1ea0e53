"""``audiosep bench``: what the promises of speed and quality come to on this machine."""

from __future__ import annotations

import click

from audiosep_core.commands.lazy import LazyGroup

_BENCHES = {
    "network": ("export.bench", "The exported network against PyTorch, in one run."),
    "stream": ("plugin_bridge.bench_stream", "Speed of live streams."),
    "latency": ("plugin_bridge.bench_latency", "Quality and cost over latency."),
    "bridge": ("plugin_bridge.bench_bridge", "Overhead and capacity of the bridge."),
}


@click.group(cls=LazyGroup, lazy=_BENCHES)
def command() -> None:
    """Measure speed and quality on this machine."""

"""A server's figures in the text format that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

_STREAM_LABELS = ("client", "stream", "model", "contract")
_COUNTERS = {
    "blocks": "Blocks answered.",
    "late_blocks": "Blocks answered after their deadline.",
    "substituted_blocks": "Blocks made with masks that stand in for late ones.",
    "substitutions": "Calls of the network that came too late.",
    "replaced_blocks": "Blocks with broken samples that silence took the place of.",
}


def exposition(figures: dict[str, Any]) -> bytes:
    """The figures of :meth:`plugin_bridge.server.server.BridgeServer.statistics` as text."""
    registry = CollectorRegistry()
    registry.register(_Collector(figures))
    return generate_latest(registry)


_HISTOGRAMS = {
    "network_wait": "Time that a hop waited for its masks.",
    "answer": "Time from when a block came in to when its answer was sent.",
}


class _Collector:
    def __init__(self, figures: dict[str, Any]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        figures = self._figures
        yield _gauge("uptime_seconds", "Since the server started.", figures["uptime_seconds"])
        yield _gauge("clients", "Connections.", figures["clients"])
        yield _gauge("streams", "Open streams.", len(figures["streams"]))
        yield _gauge("load", "Share of time spent in the network.", figures["load"])
        busy = CounterMetricFamily(
            "audiosep_network_seconds", "Time spent in the network.", labels=["model"]
        )
        calls = CounterMetricFamily(
            "audiosep_network_calls", "Calls of the network.", labels=["model"]
        )
        windows = CounterMetricFamily(
            "audiosep_network_windows", "Windows in these calls.", labels=["model"]
        )
        for model in figures["models"]:
            busy.add_metric([model["model"]], model["busy_seconds"])
            calls.add_metric([model["model"]], model["calls"])
            windows.add_metric([model["model"]], model["windows"])
        yield from (busy, calls, windows)
        totals = figures["totals"]
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"audiosep_{name}", text, value=totals[name])
        for name, text in _HISTOGRAMS.items():
            told = totals[name]
            buckets = [(str(bound), count) for bound, count in told["buckets"]]
            yield HistogramMetricFamily(
                f"audiosep_{name}_seconds",
                text,
                buckets=[*buckets, ("+Inf", told["count"])],
                sum_value=told["seconds"],
            )
        latency = GaugeMetricFamily(
            "audiosep_latency_frames",
            "Latency of a stream, without its slack.",
            labels=_STREAM_LABELS,
        )
        for stream in figures["streams"]:
            latency.add_metric(_labels(stream), stream["latency"])
        yield latency


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"audiosep_{name}", text, value=value)


def _labels(stream: dict[str, Any]) -> list[str]:
    return [str(stream[name]) for name in _STREAM_LABELS]

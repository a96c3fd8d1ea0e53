"""``audiosep bench stream``: what a live stream costs."""

from __future__ import annotations

import json
import sys
import time

import click
import numpy as np
from numpy.typing import NDArray

from audiosep_core.commands.console import model_option
from audiosep_core.config import SeparatorConfig
from audiosep_core.selection import Selection
from audiosep_core.separator import Separator
from audiosep_core.stream import SeparationStream
from audiosep_core.windows import Windows, offline_windows
from plugin_bridge.engine import StreamingSeparator

_CHANNELS = 2
_BLOCK = 64


class _NoNetwork:
    """Masks that take no time: what is left is the engine's own work."""

    def __init__(self, config: SeparatorConfig) -> None:
        self.config = config
        self._masks: NDArray[np.float32] | None = None

    def masks(
        self, magnitude: NDArray[np.float32], conditions: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The same (queries, 3, frames, bins) every time."""
        shape = (len(conditions), 3, *magnitude.shape)
        if self._masks is None or self._masks.shape != shape:
            self._masks = np.ones(shape, np.float32)
        return self._masks

    def prepare(self, rows: int, frames: int) -> None:
        """Nothing to make ready."""


@click.command()
@model_option
@click.option("--rate", default=48_000, show_default=True, metavar="HZ", help="Of the stream.")
@click.option("--seconds", default=20.0, show_default=True, help="Sound for each measurement.")
@click.option("--render/--no-render", default=True, help="Measure render mode as well.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: str, rate: int, seconds: float, render: bool, as_json: bool) -> None:
    """Measure what a stereo stream costs on one core, as a share of real time.

    "engine" is all that is not the network, in blocks of 64 frames. "render" compares the
    network's windows with one pass over the whole recording, which "whole file" is.
    """
    separator = Separator(model, "cpu", threads=1)
    rng = np.random.default_rng(0)
    audio = (0.1 * rng.standard_normal((_CHANNELS, int(rate * seconds)))).astype(np.float32)
    results: dict[str, float] = {
        f"{mode}, network and engine": stream_cost(separator, audio, rate, mode, 512)
        for mode in ("mix", "track")
    }
    if render:
        results["render, whole stream"] = offline_cost(separator, audio, rate, None)
        if (peak := peak_memory_gb()) is not None:
            results["render, memory in GB"] = peak
        results["whole file in one pass"] = offline_cost(
            separator, audio, rate, Windows(sys.maxsize, 0, 0)
        )
        results["render / whole file, this length"] = (
            results["render, whole stream"] / results["whole file in one pass"]
        )
        results["render / whole file, any length (frames)"] = offline_windows(separator.bundle).cost
    separator.estimator = _NoNetwork(separator.estimator.config)
    for mode in ("mix", "track"):
        results[f"{mode}, engine alone"] = stream_cost(separator, audio, rate, mode, _BLOCK)
    if as_json:
        click.echo(json.dumps({name: round(value, 5) for name, value in results.items()}, indent=2))
        return
    click.echo(f"{separator.bundle.name}, {rate} Hz, {_CHANNELS} channels, 1 thread")
    for name, value in results.items():
        click.echo(f"{name:<42} {value:8.4f}")


def stream_cost(
    separator: Separator, audio: NDArray[np.float32], rate: int, mode: str, block: int
) -> float:
    """Processor time over real time of a live stream.

    Args:
        separator: The model.
        audio: (channels, frames).
        rate: Of the audio in Hz.
        mode: Latency mode.
        block: Frames to a block.
    """
    stream = StreamingSeparator("drums", rate, len(audio), mode, separator)  # type: ignore[arg-type]
    starts = range(0, audio.shape[1] - block + 1, block)
    blocks = [np.ascontiguousarray(audio[:, start : start + block]) for start in starts]
    # Buffers reach their size, and the network its plan, before the clock starts.
    for part in blocks[: len(blocks) // 4]:
        stream.process(part)
    started = time.process_time()
    for part in blocks:
        stream.process(part)
    return (time.process_time() - started) / (len(blocks) * block / rate)


def offline_cost(
    separator: Separator, audio: NDArray[np.float32], rate: int, windows: Windows | None
) -> float:
    """Processor time over real time of separating a recording, with the offline windows or others.

    Args:
        separator: The model.
        audio: (channels, frames).
        rate: Of the audio in Hz.
        windows: None for those of ``render``.
    """
    selection = Selection.plain(separator.encoder.embed("drums"))
    windows = windows or offline_windows(separator.bundle)
    stream = SeparationStream(separator.estimator, selection, rate, len(audio), windows)
    started = time.process_time()
    stream.push(audio)
    stream.finish()
    return (time.process_time() - started) / (audio.shape[1] / rate)


def peak_memory_gb() -> float | None:
    """The most memory this process ever held, in GB; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9

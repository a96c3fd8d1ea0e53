"""``audiosep bench stream``: what a live stream costs."""

from __future__ import annotations

import json
import sys
import time

import click
import numpy as np
from numpy.typing import NDArray

from audiosep_core.model.config import SeparatorConfig
from audiosep_core.model.installed import default_model
from audiosep_core.model.state import NetworkState
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.runtime.steps import StepNetwork
from audiosep_core.separator import Separator
from audiosep_core.settings import Mode, ModeName
from audiosep_core.signal.masking import Estimator
from audiosep_core.signal.open_stream import offline_grouping, open_stream
from audiosep_core.signal.selection import Selection
from audiosep_core.signal.stepping import StepEstimator
from audiosep_core.signal.windows import Steps, Windows
from plugin_bridge.live.engine import StreamingSeparator
from plugin_bridge.live.modes import keeps

_CHANNELS = 2
_BLOCK = 64
_MODES: tuple[ModeName, ...] = ("mix", "track", "live")
#: More frames than any recording has.
_MANY = 1 << 40


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


class _NoSteps:
    """As :class:`_NoNetwork`, for a streaming network."""

    def __init__(self, network: StepEstimator) -> None:
        self.config, self.start = network.config, network.start
        self._masks: NDArray[np.float32] | None = None

    def step(
        self, magnitude: NDArray[np.float32], state: NetworkState
    ) -> tuple[NDArray[np.float32], NetworkState]:
        """The same (queries, 3, frames, bins) every time, and the same state."""
        shape = (len(state.conditions), 3, *magnitude.shape)
        if self._masks is None or self._masks.shape != shape:
            self._masks = np.ones(shape, np.float32)
        return self._masks, state

    def prepare(self, rows: int, frames: int) -> None:
        """Nothing to make ready."""


def _no_network(estimator: Estimator | StepEstimator) -> _NoNetwork | _NoSteps:
    if isinstance(estimator, StepNetwork):
        return _NoSteps(estimator)
    assert isinstance(estimator.config, SeparatorConfig)
    return _NoNetwork(estimator.config)


@click.command()
@click.option(
    "--model",
    metavar="NAME_OR_PATH",
    help="Installed model, or path of a bundle.  [default: mini; in mode live, live]",
)
@click.option("--rate", default=48_000, show_default=True, metavar="HZ", help="Of the stream.")
@click.option("--seconds", default=20.0, show_default=True, help="Sound for each measurement.")
@click.option("--render/--no-render", default=True, help="Measure render mode as well.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: str | None, rate: int, seconds: float, render: bool, as_json: bool) -> None:
    """Measure what a stereo stream costs on one core, as a share of real time.

    "engine" is all that is not the network, in blocks of 64 frames. "render" compares the
    network's windows with one pass over the whole recording, which "whole file" is.
    """
    loaded: dict[str, Separator] = {}

    def separator_of(mode: Mode) -> Separator:
        name = model or default_model(mode)
        if name not in loaded:
            loaded[name] = Separator(name, "cpu", threads=1)
        return loaded[name]

    rng = np.random.default_rng(0)
    audio = (0.1 * rng.standard_normal((_CHANNELS, int(rate * seconds)))).astype(np.float32)
    modes = [mode for mode in _MODES if keeps(mode, separator_of(mode).bundle)]
    results = {
        f"{mode}, network and engine": stream_cost(separator_of(mode), audio, rate, mode, 512)
        for mode in modes
    }
    if render:
        results |= _render_costs(separator_of("render"), audio, rate)
    for separator in loaded.values():
        separator.estimator = _no_network(separator.estimator)
    for mode in modes:
        results[f"{mode}, engine alone"] = stream_cost(
            separator_of(mode), audio, rate, mode, _BLOCK
        )
    if as_json:
        click.echo(json.dumps({name: round(value, 5) for name, value in results.items()}, indent=2))
        return
    names = ", ".join(separator.bundle.name for separator in loaded.values())
    click.echo(f"{names}, {rate} Hz, {_CHANNELS} channels, 1 thread")
    for name, value in results.items():
        click.echo(f"{name:<42} {value:8.4f}")


def _render_costs(separator: Separator, audio: NDArray[np.float32], rate: int) -> dict[str, float]:
    config = separator.bundle.config
    results = {"render, whole stream": offline_cost(separator, audio, rate, None)}
    if (peak := peak_memory_gb()) is not None:
        results["render, memory in GB"] = peak
    whole: Windows | Steps = Windows(_MANY, 0, 0)
    if isinstance(config, StreamingConfig):
        whole = Steps(config.step_frames * _MANY)
    results["whole file in one pass"] = offline_cost(separator, audio, rate, whole)
    results["render / whole file, this length"] = (
        results["render, whole stream"] / results["whole file in one pass"]
    )
    grouping = offline_grouping(config, separator.bundle.context_seconds)
    results["render / whole file, any length (frames)"] = grouping.cost
    return results


def stream_cost(
    separator: Separator, audio: NDArray[np.float32], rate: int, mode: Mode, block: int
) -> float:
    """Processor time over real time of a live stream.

    Args:
        separator: The model.
        audio: (channels, frames).
        rate: Of the audio in Hz.
        mode: Latency mode.
        block: Frames to a block.
    """
    stream = StreamingSeparator("drums", rate, len(audio), mode, separator)
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
    separator: Separator, audio: NDArray[np.float32], rate: int, windows: Windows | Steps | None
) -> float:
    """Processor time over real time of separating a recording, with the offline windows or others.

    Args:
        separator: The model.
        audio: (channels, frames).
        rate: Of the audio in Hz.
        windows: None for those of ``render``.
    """
    selection = Selection.plain(separator.encoder.embed("drums"))
    bundle = separator.bundle
    windows = windows or offline_grouping(bundle.config, bundle.context_seconds)
    stream = open_stream(separator.estimator, selection, rate, len(audio), windows)
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

"""Evidence that the graphs of a streaming network give the waveforms that the network gives.

The reference is the network in PyTorch in float64, all frames in one call; the graphs run as
they do in use, step by step and many frames at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from audiosep_core.model.bundle import CONDITION, SEPARATOR, Bundle
from audiosep_core.model.state import NetworkState
from audiosep_core.model.streaming_network import Memory, StreamingNetwork
from audiosep_core.runtime.steps import StepNetwork
from audiosep_core.signal.selection import Selection
from audiosep_core.signal.stepped_stream import stepped_stream
from audiosep_core.signal.stepping import StepEstimator
from audiosep_export.evidence.signals import verification_signals
from audiosep_export.evidence.verify import ComparedSignal, evidence, sdr_db
from audiosep_export.graphs.streaming_graph import STATE_IN

_RATE = 48_000
#: Seconds of the signals: less than the look-ahead, and many steps.
_SECONDS = (0.1, 1.6)
#: More frames than any of the signals has.
_ALL_FRAMES = 4096
_MANY_FRAMES = 64
_QUERIES = 2
_TIMED_SECONDS = 5.0


def verify_steps(net: StreamingNetwork, folder: Path) -> dict[str, Any]:
    """Verify ``condition.onnx`` and ``separator.onnx`` of a streaming network.

    Args:
        net: The network they were made from, in evaluation mode.
        folder: Where they are.

    Returns:
        The evidence, as plain JSON types.

    Raises:
        ExportError: A case is out of bounds.
    """
    config = net.config
    bundle = Bundle(folder, config, {}, "", "", 0.0)
    network = StepNetwork(bundle, "cpu", 1)
    frames = round(_TIMED_SECONDS * config.frame_rate) // config.step_frames * config.step_frames
    state = network.start(np.ones((1, config.condition_size), np.float32))
    feed = {"magnitude": np.ones((1, 1, frames, config.bins), np.float32), "film": state.film}
    feed |= {STATE_IN + name: tensor for name, tensor in state.tensors.items()}
    seconds = frames / config.frame_rate
    found = evidence(folder / SEPARATOR, _cases(net, network), feed, seconds, "fp32")
    found["condition_bytes"] = (folder / CONDITION).stat().st_size
    found["state_bytes"] = sum(tensor.nbytes for tensor in state.tensors.values())
    return found


class _InPyTorch:
    """The network in float64 PyTorch, behind what a stream asks of it."""

    def __init__(self, net: StreamingNetwork) -> None:
        self.config = net.config
        self._net = copy.deepcopy(net).double()
        self._memory: dict[str, torch.Tensor] | None = None

    def start(self, conditions: NDArray[np.float32]) -> NetworkState:
        return NetworkState(conditions, np.zeros((len(conditions), 1, 1, 1), np.float32), {})

    def prepare(self, rows: int, frames: int) -> None:
        pass

    def step(
        self, magnitude: NDArray[np.float32], state: NetworkState
    ) -> tuple[NDArray[np.float32], NetworkState]:
        rows = len(state.conditions)
        frames = torch.from_numpy(magnitude.astype(np.float64)).expand(rows, 1, -1, -1)
        memory = Memory(self._memory)
        with torch.inference_mode():
            condition = torch.from_numpy(state.conditions.astype(np.float64))
            masks = self._net(frames, condition, memory)
        self._memory = memory.after
        return masks.float().numpy(), state


def _cases(net: StreamingNetwork, network: StepEstimator) -> Iterator[ComparedSignal]:
    rng = np.random.default_rng(0)
    step = net.config.step_frames
    for seconds in _SECONDS:
        for name, signal in verification_signals(round(seconds * _RATE), _RATE).items():
            conditions = rng.standard_normal((_QUERIES, net.config.condition_size))
            conditions /= np.linalg.norm(conditions, axis=1, keepdims=True)
            selection = Selection.plain(conditions.astype(np.float32))
            truth = _separated(_InPyTorch(net), selection, signal, _ALL_FRAMES // step * step)
            for frames in (step, _MANY_FRAMES // step * step):
                estimate = _separated(network, selection, signal, frames)
                yield ComparedSignal(
                    signal=f"{name}, {frames} frames a call",
                    seconds=seconds,
                    batch=_QUERIES,
                    max_abs_error=float(np.abs(estimate - truth).max()),
                    sdr_db=sdr_db(truth, estimate),
                )


def _separated(
    network: StepEstimator, selection: Selection, signal: NDArray[np.float32], frames: int
) -> NDArray[np.float32]:
    stream = stepped_stream(network, selection, _RATE, 1, call_frames=frames)
    return np.concatenate([stream.push(signal[None]), stream.finish()], -1)[:-1]

"""Evidence that an exported graph gives the waveforms that the network gives.

The reference is the network in PyTorch in float64; what is compared is the separated
waveform, of signals with a full scale of 1.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiosep_core.errors import AudioSepError
from audiosep_core.model.network import SeparatorNetwork
from audiosep_core.runtime.device import CPU, usable_providers
from audiosep_core.runtime.placement import node_placement
from audiosep_export.evidence.signals import verification_signals
from audiosep_export.graphs.separator_graph import Precision

#: Largest error of any sample of a float32 export.
MAX_ABS_ERROR = 1e-4
#: Least signal-to-distortion ratio of fp16 where its error is larger. What int8 may lose is told
#: by how well it separates (:mod:`audiosep_export.quantise`); here its errors are only reported.
MIN_SDR_DB = 40.0
#: Seconds of a signal and how many signals, each with a query of its own, go into one call:
#: less than one cell of the network, a few, and many.
_PLAN = ((0.1, 6), (0.7, 2), (1.6, 1))
_TIMED_SECONDS = 5.0
_TIMED_RUNS = 3
#: Below this power there is no signal whose distortion could be told.
_SILENT_POWER = 1e-9
_LEAST_POWER = 1e-20

BatchSeparate = Callable[[Tensor, Tensor], Tensor]


class ExportError(AudioSepError):
    """An exported graph does not compute what the network computes."""


@dataclasses.dataclass(frozen=True)
class ComparedSignal:
    """One signal through both networks.

    Attributes:
        signal: Its name.
        seconds: Its length.
        batch: Signals in the same call.
        max_abs_error: Of any sample of the separated waveform.
        sdr_db: Power of the reference over that of the error; None where it is silent.
    """

    signal: str
    seconds: float
    batch: int
    max_abs_error: float
    sdr_db: float | None

    def holds(self, precision: Precision) -> bool:
        """Whether the case is within the bounds; a NaN never is."""
        if self.max_abs_error <= MAX_ABS_ERROR:
            return True
        if precision == "int8":
            return math.isfinite(self.max_abs_error)
        return precision == "fp16" and self.sdr_db is not None and self.sdr_db >= MIN_SDR_DB


def verify_separator(net: SeparatorNetwork, path: Path, precision: Precision) -> dict[str, Any]:
    """Verify ``separator.onnx``.

    Args:
        net: The network it was made from, in evaluation mode.
        path: The graph.
        precision: Which bounds apply.

    Returns:
        The evidence, as plain JSON types.

    Raises:
        ExportError: A case is out of bounds.
    """
    separate = graph_separator(net, open_graph(path))
    config = net.config
    frames = config.padded_frames(config.frames(round(_TIMED_SECONDS * config.sample_rate)))
    feed = {
        "magnitude": np.ones((1, 1, frames, config.bins), np.float32),
        "condition": np.ones((1, config.condition_size), np.float32),
    }
    cases = _compared(net, separate, _PLAN)
    duration = frames * config.hop_length / config.sample_rate
    return evidence(path, cases, feed, duration, precision)


def verify_waveform(net: SeparatorNetwork, path: Path, samples: int) -> dict[str, Any]:
    """Verify ``waveform.onnx``, made for that many samples; as :func:`verify_separator`."""
    session = open_graph(path)
    seconds = samples / net.config.sample_rate

    def separate(mixture: Tensor, condition: Tensor) -> Tensor:
        feed = {"waveform": mixture.numpy(), "condition": condition.numpy()}
        return torch.from_numpy(session.run(["target"], feed)[0])

    feed = {
        "waveform": np.zeros((1, 1, samples), np.float32),
        "condition": np.ones((1, net.config.condition_size), np.float32),
    }
    cases = _compared(net, separate, ((seconds, 1),))
    return evidence(path, cases, feed, seconds, "fp32")


def graph_separator(net: SeparatorNetwork, session: Any) -> BatchSeparate:
    """A network whose masks a session of its ``separator.onnx`` computes."""

    def separate(mixture: Tensor, condition: Tensor) -> Tensor:
        def estimate(magnitude: Tensor) -> Tensor:
            feed = {"magnitude": magnitude.numpy(), "condition": condition.numpy()}
            return torch.from_numpy(session.run(["mask"], feed)[0])

        with torch.inference_mode():
            return net.render(mixture, estimate)

    return separate


def open_graph(path: Path) -> Any:
    """A CPU session of a graph."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=[CPU])


def _compared(
    net: SeparatorNetwork, separate: BatchSeparate, plan: tuple[tuple[float, int], ...]
) -> Iterator[ComparedSignal]:
    reference = copy.deepcopy(net).double()
    rng = np.random.default_rng(0)
    for seconds, batch in plan:
        samples = round(seconds * net.config.sample_rate)
        signals = verification_signals(samples, net.config.sample_rate)
        names = list(signals)
        for start in range(0, len(names), batch):
            some = names[start : start + batch]
            mixture = torch.from_numpy(np.stack([signals[name] for name in some]))[:, None]
            drawn = rng.standard_normal((len(some), net.config.condition_size))
            drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
            condition = torch.from_numpy(drawn.astype(np.float32))
            with torch.inference_mode():
                expected = reference(mixture.double(), condition.double())[:, 0].numpy()
                found = separate(mixture, condition)[:, 0].numpy()
            for name, truth, estimate in zip(some, expected, found, strict=True):
                yield ComparedSignal(
                    signal=name,
                    seconds=seconds,
                    batch=batch,
                    max_abs_error=float(np.abs(estimate - truth).max()),
                    sdr_db=sdr_db(truth, estimate),
                )


def sdr_db(truth: NDArray, estimate: NDArray) -> float | None:
    """SDR in dB, as the metric of that name, but without its floor, above which any export is."""
    power = float(np.mean(truth**2))
    error = float(np.mean((estimate - truth) ** 2))
    return None if power < _SILENT_POWER else 10 * math.log10(power / max(error, _LEAST_POWER))


def evidence(
    path: Path,
    compared: Iterator[ComparedSignal],
    feed: dict[str, NDArray[np.float32]],
    seconds: float,
    precision: Precision,
) -> dict[str, Any]:
    """What a report says of a graph; draws the cases.

    Args:
        path: The graph.
        compared: Cases, each made when it is drawn.
        feed: Inputs that the graph is timed with, and placed.
        seconds: Of sound in them.
        precision: Which bounds apply.

    Raises:
        ExportError: A case is out of bounds.
    """
    cases = []
    half = precision == "fp16"
    for case in compared:
        if not case.holds(precision):
            quality = "" if case.sdr_db is None else f" and an SDR of {case.sdr_db:.1f} dB"
            bound = f"at most {MAX_ABS_ERROR:g}" + (f" or {MIN_SDR_DB:g} dB" if half else "")
            raise ExportError(
                f"{path.name} is refused: {case.signal!r}, {case.seconds:g} s in a batch of "
                f"{case.batch}, differs from PyTorch by {case.max_abs_error:.2g}{quality} "
                f"({bound} is allowed); "
                + ("export it as fp32" if half else "check the checkpoint's weights")
            )
        cases.append(dataclasses.asdict(case))
    model = onnx.load(path, load_external_data=False)
    session = open_graph(path)
    session.run(None, feed)
    elapsed = []
    for _ in range(_TIMED_RUNS):
        started = time.perf_counter()
        session.run(None, feed)
        elapsed.append(time.perf_counter() - started)
    ratios = [case["sdr_db"] for case in cases if case["sdr_db"] is not None]
    return {
        "bounds": {
            "max_abs_error": None if precision == "int8" else MAX_ABS_ERROR,
            "or_sdr_db": MIN_SDR_DB if half else None,
        },
        "opset": model.opset_import[0].version,
        "ir_version": model.ir_version,
        "bytes": path.stat().st_size,
        "operators": dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
        "worst_max_abs_error": max(case["max_abs_error"] for case in cases),
        "worst_sdr_db": min(ratios),
        "cases": cases,
        # For every provider, where each node ran with it preferred.
        "placements": {
            provider: node_placement(path, list(dict.fromkeys([provider, CPU])), feed)
            for provider in usable_providers(path)
        },
        "real_time_factor": {
            "provider": session.get_providers()[0],
            "seconds_of_audio": seconds,
            "best": min(elapsed) / seconds,
            "runs": _TIMED_RUNS,
        },
    }

"""A separator in 8-bit integers, held to what it loses of the targets' quality.

Static quantisation: weights with a scale for every output channel, features with one scale
each, found on real magnitudes. Only the 3×3 convolutions are rounded, where nearly all the
time goes, and not those of the first and the last level, where rounding is heard most; batch
norms, whose scales differ by orders of magnitude between channels, lose decibels.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from audiosep_core.model.network import SeparatorNetwork
from audiosep_core.query.text_encoder import TextEncoder
from audiosep_core.signal.metrics import sdr
from audiosep_export.evidence.sounds import Sounds, mixtures
from audiosep_export.evidence.verify import ExportError, graph_separator, open_graph
from audiosep_export.graphs.separator_graph import separator_model

#: Loss of SDR against the true targets from which an export is refused.
MAX_SDR_LOSS_DB = 0.2
_FLOAT32 = ("encoder_block1.", "decoder_block6.")
_TIMED_RUNS = 5

Feed = dict[str, NDArray[np.float32]]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: list[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def write_int8(
    net: SeparatorNetwork, path: Path, encoder: TextEncoder, sounds: Sounds
) -> dict[str, Any]:
    """Write ``separator.onnx`` with int8 convolutions, and measure what that costs.

    It is calibrated on the first halves of mixtures of two sounds and measured on the second:
    the SDR against the true target that float32 reaches, less what int8 reaches, in the mean.
    What a mixture gains by rounding is chance, and counts as nothing lost.

    Args:
        net: The network, in evaluation mode.
        path: File to write.
        encoder: Of the queries.
        sounds: Query to (samples,) at the network's rate, at least two.

    Returns:
        The evidence, as plain JSON types.

    Raises:
        ExportError: The loss is ``MAX_SDR_LOSS_DB`` or more.
    """
    model = separator_model(net)
    for node in model.graph.node:
        node.name = node.output[0]
    exact = path.with_name("float32.onnx")
    onnx.save(model, exact)
    try:
        session = open_graph(exact)
        float32 = graph_separator(net, session)
        cases, feeds = [], []
        for query, target, mixture in mixtures(sounds):
            half = len(mixture) // 2
            condition = torch.from_numpy(encoder.encode([query]))
            feeds.append(_feed(net, mixture[:half], condition))
            cases.append((query, target[half:], mixture[half:], condition))
        _quantise(model, path, feeds)
        quantised = open_graph(path)
        int8 = graph_separator(net, quantised)
        measured, losses = [], []
        for query, target, mixture, condition in cases:
            signal = torch.from_numpy(mixture)[None, None]
            before, after = (
                sdr(target, separate(signal, condition)[0, 0].numpy())
                for separate in (float32, int8)
            )
            # NaN stays: it is no gain.
            losses.append(0.0 if after > before else before - after)
            measured.append({"query": query, "float32_sdr_db": before, "int8_sdr_db": after})
        ratio = _speed_ratio(session, quantised, feeds[0])
    finally:
        exact.unlink()
    loss = statistics.fmean(losses)
    # A NaN compares as false.
    if not loss < MAX_SDR_LOSS_DB:
        raise ExportError(
            f"int8 is refused: it loses {loss:.2f} dB of SDR in the mean of {len(losses)} "
            f"mixtures (less than {MAX_SDR_LOSS_DB:g} dB is allowed); export it as fp32, or "
            "calibrate on sounds like those to be separated with --sounds"
        )
    return {
        "max_sdr_loss_db": MAX_SDR_LOSS_DB,
        "sdr_loss_db": loss,
        "worst_sdr_loss_db": max(losses),
        "times_as_fast_as_float32": ratio,
        "cases": measured,
    }


def _feed(net: SeparatorNetwork, mixture: NDArray[np.float32], condition: torch.Tensor) -> Feed:
    """The graph's inputs for a mixture."""
    seen: list[NDArray[np.float32]] = []

    def estimate(magnitude: torch.Tensor) -> torch.Tensor:
        seen.append(magnitude.numpy())
        return magnitude.expand(-1, 3, -1, -1)

    net.render(torch.from_numpy(mixture)[None, None], estimate)
    return {"magnitude": seen[0], "condition": condition.numpy()}


def _quantise(model: onnx.ModelProto, path: Path, feeds: list[Feed]) -> None:
    # Without this mark the quantiser tells users to shape and fold the graph first; it is.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    quantize_static(
        model,
        path,
        _Reader(feeds),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        nodes_to_quantize=list(_inner_convolutions(model.graph)),
    )


def _inner_convolutions(graph: onnx.GraphProto) -> Iterator[str]:
    sizes = {weight.name: list(weight.dims[2:]) for weight in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv":
            weight = node.input[1]
            if sizes[weight] == [3, 3] and not weight.startswith(_FLOAT32):
                yield node.name


def _speed_ratio(float32: Any, int8: Any, feed: Feed) -> float:
    """How many times as fast, run in turns so that both meet the same machine."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_TIMED_RUNS):
        for session, elapsed in zip((float32, int8), times, strict=True):
            started = time.perf_counter()
            session.run(None, feed)
            elapsed.append(time.perf_counter() - started)
    return min(times[0]) / min(times[1])

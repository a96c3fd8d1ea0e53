"""What a separator graph computes from the query alone, computed beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx.utils import Extractor

_BATCH = 256
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
# They repeat or rearrange what they are given: what they are given is worth keeping.
_SHAPING = ("Cast", "Expand", "Reshape", "Resize", "Tile", "Unsqueeze")


def film_vectors(
    separator: Path, conditions: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """The values at which a separator's query meets its audio.

    They are found in the graph itself, whatever the exporter has folded or named: every float
    value that depends on ``condition`` only and is read by a node that depends on ``magnitude``,
    before it is repeated to a shape that suits that node.

    Args:
        separator: ``separator.onnx``.
        conditions: (queries, condition_size) embeddings.

    Returns:
        Name of the value in the graph to (queries, channels): its dimensions after the first are
        flattened into one.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(separator))
    names = _meeting_points(model.graph)
    part = Extractor(model).extract_model(["condition"], names)
    session = onnxruntime.InferenceSession(
        part.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    parts = [
        session.run(names, {"condition": conditions[start : start + _BATCH]})
        for start in range(0, len(conditions), _BATCH)
    ]
    return {
        name: np.concatenate(some).reshape(len(conditions), -1).astype(np.float32)
        for name, some in zip(names, zip(*parts, strict=True), strict=True)
    }


def streaming_film_vectors(
    condition: Path, conditions: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """The same of a streaming model, which computes them in a graph of its own.

    Args:
        condition: ``condition.onnx``.
        conditions: (queries, condition_size) embeddings.

    Returns:
        ``film`` to (queries, channels).
    """
    session = onnxruntime.InferenceSession(str(condition), providers=["CPUExecutionProvider"])
    film = session.run(["film"], {"condition": conditions})[0]
    return {"film": film.reshape(len(conditions), -1)}


def _meeting_points(graph: onnx.GraphProto) -> list[str]:
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    of_query, of_audio = {"condition"}, {"magnitude"}
    shaped: dict[str, str] = {}
    found: dict[str, None] = {}
    for node in graph.node:
        if of_audio.intersection(node.input):
            of_audio.update(node.output)
            found |= {name: None for name in node.input if name in of_query}
        elif of_query.intersection(node.input):
            of_query.update(node.output)
            if node.op_type in _SHAPING and node.input[0] in of_query:
                shaped[node.output[0]] = node.input[0]
    points: dict[str, None] = {}
    for name in found:
        if kinds.get(name) in _FLOATS:
            while name in shaped:
                name = shaped[name]
            points[name] = None
    return list(points)

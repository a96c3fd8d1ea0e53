"""Writes a tower once its graph computes what PyTorch computes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from audiosep_core.atomic import replacing
from audiosep_core.errors import AudioSepError
from audiosep_export.text.tower import MAX_DISTANCE

_OPSET = 17


class TowerError(AudioSepError):
    """An exported tower does not compute what its PyTorch original does."""


@torch.no_grad()
def write_tower(
    tower: nn.Module, name: str, inputs: Sequence[Tensor], path: Path, batched: bool
) -> float:
    """Trace a tower to ONNX, compare, and write.

    Args:
        tower: From one input to (batch, size) of unit length.
        name: Of the input in the graph; the output is ``embedding``.
        inputs: What the two are compared on; the first is traced.
        path: The file to write; left out if the graph fails.
        batched: Whether the graph takes any number of rows.

    Returns:
        The greatest cosine distance between graph and PyTorch.

    Raises:
        TowerError: That distance is above :data:`MAX_DISTANCE`.
    """
    tower = tower.eval()
    axes = {part: {0: "rows"} for part in (name, "embedding")} if batched else None
    with replacing(path) as graph, warnings.catch_warnings():
        # Sizes that the trace takes for constants are constant here.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            tower,
            (inputs[0],),
            str(graph),
            input_names=[name],
            output_names=["embedding"],
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
        _tell_size(graph, tower(inputs[0]).shape[1])
        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        greatest = max(_distance(tower, session, name, given) for given in inputs)
        # Written so that NaN fails too.
        if not greatest <= MAX_DISTANCE:
            raise TowerError(
                f"the graph of {path.name} differs from PyTorch by a cosine distance of "
                f"{greatest:.1e}, more than {MAX_DISTANCE:g}; it is not written"
            )
    return greatest


def _tell_size(graph: Path, size: int) -> None:
    """Name the embedding's length in the graph, which the trace leaves open."""
    model = onnx.load(graph)
    (output,) = model.graph.output
    output.type.tensor_type.shape.dim[1].dim_value = size
    graph.write_bytes(model.SerializeToString(deterministic=True))


@torch.no_grad()
def _distance(
    tower: nn.Module, session: onnxruntime.InferenceSession, name: str, given: Tensor
) -> float:
    expected = tower(given).double().numpy()
    (found,) = session.run(None, {name: given.numpy()})
    return float(np.abs(1 - np.sum(expected * found, axis=1)).max())

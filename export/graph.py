"""The separation network as an ONNX graph: magnitude and condition in, mask out."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from audiosep_core.network import SeparatorNetwork

OPSET = 18
#: Batch and cells of 32 frames that the graph is traced with: unlike any other dimension, so
#: that a dimension that was traced as a constant shows.
_TRACED = (3, 7)


class _Mask(nn.Module):
    def __init__(self, net: SeparatorNetwork) -> None:
        super().__init__()
        self.net = net

    def forward(self, magnitude: Tensor, condition: Tensor) -> Tensor:
        return self.net.mask(magnitude, condition)


def export_graph(net: SeparatorNetwork, path: Path) -> None:
    """Write ``separator.onnx``.

    Inputs: ``magnitude`` (batch, 1, frames, bins), frames a multiple of 32, -1 beyond the
    signal's end; ``condition`` (batch, condition_size). Output: ``mask`` (batch, 3, frames,
    bins). Everything is float32; batch and frames are dynamic.
    """
    config = net.config
    batch, cells = _TRACED
    magnitude = torch.rand(batch, 1, cells * config.frame_multiple, config.bins)
    condition = torch.rand(batch, config.condition_size)
    batch_size = torch.export.Dim("batch", min=1, max=4096)
    cell_count = torch.export.Dim("cells", min=1, max=4096)
    program = torch.onnx.export(
        _Mask(net.eval()),
        (magnitude, condition),
        dynamo=True,
        opset_version=OPSET,
        input_names=["magnitude", "condition"],
        output_names=["mask"],
        dynamic_shapes={
            "magnitude": {0: batch_size, 2: config.frame_multiple * cell_count},
            "condition": {0: batch_size},
        },
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        # The exporter's notes on where a node came from carry paths of the machine it ran on.
        del node.metadata_props[:]
        node.doc_string = ""
    model.doc_string = ""
    onnx.save(model, path)

"""The separation network as an ONNX graph: magnitude and condition in, mask out.

On the CPU, ONNX Runtime keeps features in blocks of channels (NCHWc) between convolutions,
poolings, additions and concatenations; around any other operation it converts the layout
back and forth. So every batch norm is a depthwise 1×1 convolution here, which takes the leaky
rectifier behind it along; FiLM's shifts come out of 1×1 convolutions, hence blocked, and are
added before the batch norm's scale; and transposed convolutions are pointwise ones whose
output is laid out by reshaping.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn

from audiosep_core.model.config import FREQUENCY_POOLINGS
from audiosep_core.model.network import (
    ROTATION_FLOOR,
    ConvBlock,
    DecoderBlock,
    EncoderBlock,
    SeparatorNetwork,
)
from audiosep_core.model.streaming_network import LEAK
from audiosep_export.graphs.onnx_graph import IR_VERSION, OPSET, Graph

#: Stands in for a smaller scale of a batch norm, which FiLM's shift is divided by.
_LEAST_SCALE = {np.float32: 1e-12, np.float16: 1e-4}

#: "int8" is a float32 graph that :mod:`audiosep_export.quantise` has rounded.
Precision = Literal["fp32", "fp16", "int8"]


def separator_model(net: SeparatorNetwork, precision: Precision = "fp32") -> onnx.ModelProto:
    """The graph of :meth:`SeparatorNetwork.mask`.

    Inputs: ``magnitude`` (batch, 1, frames, bins), frames a multiple of 32, -1 beyond the
    signal's end; ``condition`` (batch, condition_size). Output: ``mask`` (batch, 3, frames,
    bins). Batch and frames are dynamic.

    Args:
        net: The network; its batch norms are folded as in evaluation mode.
        precision: "fp16" computes in half precision between the normalised magnitudes and the
            raw mask; inputs, outputs and what lies next to them are float32 all the same. The
            other precisions give the float32 graph.
    """
    config = net.config
    graph = SeparatorGraph(net, precision)
    # Weights that half precision cannot hold become infinite, which verification finds.
    with np.errstate(over="ignore"):
        graph.mask("magnitude", "condition", "mask")

    def values(name: str, *shape: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    return graph.model(
        "separator",
        [
            values("magnitude", "batch", 1, "frames", config.bins),
            values("condition", "batch", config.condition_size),
        ],
        [values("mask", "batch", 3, "frames", config.bins)],
        OPSET,
        IR_VERSION,
    )


class SeparatorGraph(Graph):
    """The network's nodes; weights are folded in float64, then rounded to the precision."""

    def __init__(self, net: SeparatorNetwork, precision: Precision = "fp32") -> None:
        super().__init__()
        self._net = net
        self._dtype = np.float16 if precision == "fp16" else np.float32
        self._least_scale = _LEAST_SCALE[self._dtype]
        self._type = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
        # Bins of the level that is being written.
        self._bins = 0

    def mask(self, magnitude: str, condition: str, output: str) -> str:
        """:meth:`SeparatorNetwork.mask`."""
        base, config = self._net.base, self._net.config
        self._condition = self._cast(self._projected(condition), self._type)
        self._bins = (config.bins - 1) // config.bands
        x = self._cast(self._features(magnitude), self._type)
        x = self._convolution(x, "pre_conv", base.pre_conv)
        skips = []
        for level in range(1, FREQUENCY_POOLINGS + 1):
            x, skip = self._encoder(x, f"encoder_block{level}")
            skips.append(skip)
        x, _ = self._encoder(x, "conv_block7a")
        for level, skip in enumerate(reversed(skips), 1):
            x = self._decoder(x, skip, f"decoder_block{level}")
        x = self._cast(self._convolution(x, "after_conv", base.after_conv), TensorProto.FLOAT)
        return self._activated_mask(x, output)

    def _cast(self, x: str, element_type: int) -> str:
        return x if self._type == TensorProto.FLOAT else self.node("Cast", x, to=element_type)

    def _features(self, magnitude: str) -> str:
        """Compressed and normalised magnitudes, zero beyond the signal, bands folded."""
        config = self._net.config
        x = self.node("Clip", magnitude, self.number(0.0))
        if config.magnitude_scale == "log":
            x = self.node("Log", self.node("Add", x, self.number(1e-3)))
        scale, shift = _affine(self._net.base.bn0)
        x = self.node("Mul", x, self.constant("bn0.scale", scale.astype(np.float32)))
        x = self.node("Add", x, self.constant("bn0.shift", shift.astype(np.float32)))
        inside = self.node("GreaterOrEqual", magnitude, self.number(0.0))
        x = self.node("Mul", x, self.node("Cast", inside, to=TensorProto.FLOAT))
        # The network leaves the Nyquist bin out.
        x = self.node("Slice", x, self.integers(0), self.integers(-1), self.integers(3))
        if config.bands > 1:
            x = self.node("Reshape", x, self.integers(0, 0, 0, self._bins, config.bands))
            x = self.node("Transpose", x, perm=(0, 1, 4, 2, 3))
            x = self.node("Reshape", x, self.integers(0, config.bands, -1, self._bins))
        return x

    def _activated_mask(self, x: str, output: str) -> str:
        """Bands unfolded, the Nyquist bin as zero, sigmoid and rotation of unit length."""
        config = self._net.config
        if config.bands > 1:
            x = self.node("Reshape", x, self.integers(0, 3, config.bands, -1, self._bins))
            x = self.node("Transpose", x, perm=(0, 1, 3, 4, 2))
            x = self.node("Reshape", x, self.integers(0, 0, 0, config.bins - 1))
        x = self.node("Pad", x, self.integers(0, 0, 0, 0, 0, 0, 0, 1))
        axis = self.integers(1)
        gain = self.node("Slice", x, self.integers(0), self.integers(1), axis)
        gain = self.node("Sigmoid", gain)
        rotation = self.node("Slice", x, self.integers(1), self.integers(3), axis)
        rotation = self.node("Tanh", rotation)
        power = self.node("ReduceSum", self.node("Mul", rotation, rotation), axis, keepdims=1)
        length = self.node("Sqrt", self.node("Max", power, self.number(ROTATION_FLOOR**2)))
        rotation = self.node("Div", rotation, length)
        return self.node("Concat", gain, rotation, output=output, axis=1)

    def _projected(self, condition: str) -> str:
        """What FiLM sees of the condition, as (batch, size, 1, 1)."""
        x = condition
        if self._net.projection is not None:
            first, _, second = self._net.projection
            x = self._linear(
                self.gelu(self._linear(x, "projection1", first)), "projection2", second
            )
        return self.node("Unsqueeze", x, self.integers(2, 3))

    def _linear(self, x: str, name: str, layer: nn.Module) -> str:
        assert isinstance(layer, nn.Linear)
        weight = self.constant(f"{name}.weight", _float32(layer.weight))
        bias = self.constant(f"{name}.bias", _float32(layer.bias))
        return self.node("Gemm", x, weight, bias, transB=1)

    def _encoder(self, x: str, name: str) -> tuple[str, str]:
        block = self._net.base.get_submodule(name)
        assert isinstance(block, EncoderBlock)
        skip = self._block(x, f"{name}.conv_block1", block.conv_block1)
        if block.pooling == (1, 1):
            return skip, skip
        size = list(block.pooling)
        self._bins //= block.pooling[1]
        return self.node("AveragePool", skip, kernel_shape=size, strides=size), skip

    def _decoder(self, x: str, skip: str, name: str) -> str:
        block = self._net.base.get_submodule(name)
        assert isinstance(block, DecoderBlock)
        x = self._upsampled(self._activation(x, f"{name}.bn1"), f"{name}.conv1", block.conv1)
        # Pooling single values changes none of them, but what comes out of it is blocked.
        x = self.node("AveragePool", x, kernel_shape=[1, 1])
        x = self.node("Concat", x, skip, axis=1)
        return self._block(x, f"{name}.conv_block2", block.conv_block2)

    def _block(self, x: str, name: str, block: ConvBlock) -> str:
        y = self._convolution(self._activation(x, f"{name}.bn1"), f"{name}.conv1", block.conv1)
        y = self._convolution(self._activation(y, f"{name}.bn2"), f"{name}.conv2", block.conv2)
        if block.shortcut is not None:
            x = self._convolution(x, f"{name}.shortcut", block.shortcut)
        # Only a sum of equal shapes, told by name, is accumulated inside of the convolution.
        shape = ("batch", block.conv2.out_channels, f"{name}.frames", self._bins)
        return self.node("Add", *(self.shaped(value, self._type, *shape) for value in (y, x)))

    def _activation(self, x: str, name: str) -> str:
        """Batch norm and FiLM shift as (x + shift / scale) · scale + offset, then rectified."""
        norm = self._net.base.get_submodule(name)
        film = self._net.film.get_submodule(name.replace(".", "->").replace("bn", "beta"))
        assert isinstance(norm, nn.BatchNorm2d) and isinstance(film, nn.Linear)
        scale, offset = _affine(norm)
        scale[abs(scale) < self._least_scale] = self._least_scale
        shift = self._weighted(
            self._condition,
            f"{name}.film",
            (_float64(film.weight) / scale[:, None])[:, :, None, None],
            _float64(film.bias) / scale,
        )
        # Additions of a whole row are several times faster than of single blocks of channels.
        scales = self.constant(f"one_to_{self._bins}", np.array([1, 1, 1, self._bins], np.float32))
        shift = self.node(
            "Resize",
            shift,
            "",
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        x = self.node("Add", x, shift)
        x = self._weighted(x, name, scale[:, None, None, None], offset, group=len(scale))
        return self.node("LeakyRelu", x, alpha=LEAK)

    def _upsampled(self, x: str, name: str, layer: nn.ConvTranspose2d) -> str:
        """A transposed convolution whose kernel is its stride: no two of its products overlap."""
        weight = _float64(layer.weight)
        _, outputs, rows, columns = weight.shape
        self._bins *= columns
        parts = []
        for row in range(rows):
            # Channels last, with the phases in front of them: neighbouring bins lie in order.
            kernel = weight[:, :, row].transpose(2, 1, 0).reshape(columns * outputs, -1)
            part = self._weighted(x, f"{name}.row{row}", kernel[:, :, None, None])
            part = self.node("Transpose", part, perm=(0, 2, 3, 1))
            parts.append(self.node("Reshape", part, self.integers(0, 0, 1, self._bins * outputs)))
        x = self.node("Concat", *parts, axis=2) if rows > 1 else parts[0]
        x = self.node("Reshape", x, self.integers(0, -1, self._bins, outputs))
        return self.node("Transpose", x, perm=(0, 3, 1, 2))

    def _convolution(self, x: str, name: str, layer: nn.Conv2d) -> str:
        bias = None if layer.bias is None else _float64(layer.bias)
        return self._weighted(x, name, _float64(layer.weight), bias)

    def _weighted(
        self,
        x: str,
        name: str,
        weight: NDArray[np.float64],
        bias: NDArray[np.float64] | None = None,
        group: int = 1,
    ) -> str:
        """A convolution that keeps the number of frames and bins."""
        inputs = [x, self.constant(f"{name}.weight", weight.astype(self._dtype))]
        if bias is not None:
            inputs.append(self.constant(f"{name}.bias", bias.astype(self._dtype)))
        size = weight.shape[-1]
        return self.node(
            "Conv", *inputs, kernel_shape=[size, size], pads=[size // 2] * 4, group=group
        )


def _affine(norm: nn.BatchNorm2d) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and offset of each channel of a batch norm in evaluation mode."""
    assert norm.running_var is not None and norm.running_mean is not None
    scale = _float64(norm.weight) / np.sqrt(_float64(norm.running_var) + norm.eps)
    return scale, _float64(norm.bias) - _float64(norm.running_mean) * scale


def _float64(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().double().numpy()


def _float32(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().float().numpy()

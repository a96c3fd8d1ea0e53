"""A streaming network as two ONNX graphs: one for the query, one for a step of frames.

What depends on the query alone is computed once a query, by ``condition.onnx``; batch norms are
folded into it, since FiLM scales and shifts what they give. ``separator.onnx`` takes frames and
the state that the frames before left, and gives masks and the next state. A step of a live
network takes less time than starting its operators, so that these are few: bins enter and leave
by one product over all positions, whatever their groups.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn

from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.model.streaming_network import (
    FLOOR,
    LEAK,
    ROTATION_POWER_FLOOR,
    Convolution,
    DecoderLevel,
    ResidualBlock,
    Site,
    StreamingNetwork,
)
from audiosep_export.graphs.onnx_graph import IR_VERSION, OPSET, Graph

#: In front of the name of a state tensor, where it goes in and where it comes out.
STATE_IN, STATE_OUT = "state.", "next."


def condition_model(net: StreamingNetwork) -> onnx.ModelProto:
    """From ``condition`` (batch, condition_size) to ``film`` (batch, channels, 1, 1)."""
    graph = Graph()
    first, _, second, _ = net.condition.project
    assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
    x = "condition"
    for name, layer in (("projection1", first), ("projection2", second)):
        x = graph.gelu(_gemm(graph, x, name, _array(layer.weight), _array(layer.bias)))
    weight, bias = _folded_film(net)
    x = _gemm(graph, x, "film", weight, bias)
    graph.node("Unsqueeze", x, graph.integers(2, 3), output="film")
    return graph.model(
        "condition",
        [_floats("condition", "batch", net.config.condition_size)],
        [_floats("film", "batch", len(bias), 1, 1)],
        OPSET,
        IR_VERSION,
    )


def step_model(net: StreamingNetwork) -> onnx.ModelProto:
    """Frames, FiLM vectors and the state in; masks and the next state out.

    Inputs: ``magnitude`` (batch, 1, frames, bins) at a normal level, frames a multiple of
    ``step_frames``; ``film`` as :func:`condition_model` gives it; ``state.NAME`` (batch, ...) for
    every tensor of the state, zeros at the start of a stream. Outputs: ``mask`` (batch, 3,
    frames, bins), late by ``look_ahead``, and ``next.NAME``.
    """
    graph = _StepGraph(net)
    graph.write()
    film = 2 * sum(net.condition.sizes)
    states = list(graph.states.items())
    return graph.model(
        "separator",
        [
            _floats("magnitude", "batch", 1, "frames", net.config.bins),
            _floats("film", "batch", film, 1, 1),
            *(_floats(STATE_IN + name, "batch", *shape) for name, shape in states),
        ],
        [
            _floats("mask", "batch", 3, "frames", net.config.bins),
            *(_floats(STATE_OUT + name, "batch", *shape) for name, shape in states),
        ],
        OPSET,
        IR_VERSION,
    )


def _folded_film(net: StreamingNetwork) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight and bias of the layer that gives every site's scale and shift, norms included."""
    weight, bias = _array(net.condition.film.weight), _array(net.condition.film.bias)
    sites = [module for module in net.modules() if isinstance(module, Site)]
    weights, biases = [], []
    starts = np.cumsum([0, *(2 * size for size in net.condition.sizes)])
    for number, start in enumerate(starts[:-1]):
        site = next(site for site in sites if site.number == number)
        scale, shift = _affine(site.norm)
        middle, end = start + len(scale), start + 2 * len(scale)
        gamma, gamma_bias = weight[start:middle], 1 + bias[start:middle]
        weights += [gamma * scale[:, None], gamma * shift[:, None] + weight[middle:end]]
        biases += [gamma_bias * scale, gamma_bias * shift + bias[middle:end]]
    return np.concatenate(weights), np.concatenate(biases)


class _StepGraph(Graph):
    def __init__(self, net: StreamingNetwork) -> None:
        super().__init__()
        self._net = net
        #: Names and shapes, without the batch, of the state.
        self.states: dict[str, tuple[int, ...]] = {}

    def write(self) -> None:
        net, config = self._net, self._net.config
        self._film = self._split_film()
        x = self._entered()
        skips = []
        positions = config.positions
        for i, block in enumerate(net.down):
            assert isinstance(block, ResidualBlock)
            if i:
                pooling = net.poolings[i]
                positions //= pooling[1]
                x = self.node("AveragePool", x, kernel_shape=pooling, strides=pooling)
            x = self._block(x, block, f"down{i}", positions)
            skips.append(x)
        x = self._past(x, positions)
        for i, level in enumerate(net.up):
            assert isinstance(level, DecoderLevel)
            number = len(net.up) - 1 - i
            pooling = net.poolings[number + 1]
            positions *= pooling[1]
            skip = skips[number]
            if level.delay:
                skip = self._delayed(skip, f"up{number}.skip", level, positions)
            up = self.node(
                "ConvTranspose",
                self._site(x, level.site),
                self._weight(f"up{number}.up", level.up.weight),
                strides=pooling,
            )
            x = self._block(
                self.node("Concat", up, skip, axis=1), level.block, f"up{number}", positions
            )
        self._masks(self._site(x, net.last))

    def _split_film(self) -> list[str]:
        sizes = [size for size in self._net.condition.sizes for _ in range(2)]
        names = [f"film_{i}" for i in range(len(sizes))]
        lengths = self.constant("film_sizes", np.array(sizes, np.int64))
        self.nodes.append(helper.make_node("Split", ["film", lengths], names, "film", axis=1))
        return names

    def _entered(self) -> str:
        """Logarithms of the magnitudes, through the first product: (batch, width, frames, P)."""
        net, config = self._net, self._net.config
        scale, shift = _affine(net.norm)
        places = _places(config)
        most = places.shape[1]
        weight = np.zeros((config.positions, most, config.widths[0]))
        bias = np.tile(_array(net.place)[0, :, 0].T, (1, 1))
        position = 0
        for layer, (count, width) in zip(net.enter, config.band_groups, strict=True):
            assert isinstance(layer, nn.Conv2d)
            kernel = _array(layer.weight)[:, :, 0, 0].T
            for _ in range(count):
                bins = places[position, :width]
                weight[position, :width] = kernel * scale[bins, None]
                bias[position] += shift[bins] @ kernel
                position += 1
        x = self.node("Log", self.node("Add", "magnitude", self.number(FLOOR)))
        x = self.node("Gather", x, self.constant("enter.bins", places.reshape(-1)), axis=3)
        x = self.node("Reshape", x, self.integers(0, -1, config.positions, 1, most))
        x = self.node("MatMul", x, self._weight("enter.weight", weight))
        x = self.node("Add", x, self._weight("enter.bias", bias[:, None]))
        x = self.node("Reshape", x, self.integers(0, -1, config.positions, config.widths[0]))
        return self.node("Transpose", x, perm=(0, 3, 1, 2))

    def _masks(self, x: str) -> None:
        net, config = self._net, self._net.config
        channels = 3 if config.phase else 1
        places = _places(config)
        most, width0 = places.shape[1], config.widths[0]
        weight = np.zeros((config.positions, width0, channels * most))
        bias = np.zeros((config.positions, channels * most))
        picked = np.zeros((channels, config.bins), np.int64)
        position = bin = 0
        for layer, (count, width) in zip(net.leave, config.band_groups, strict=True):
            assert isinstance(layer, nn.Conv2d)
            kernel, offset = _array(layer.weight)[:, :, 0, 0].T, _array(layer.bias)
            for _ in range(count):
                for channel in range(channels):
                    start = channel * most
                    span = slice(channel * width, (channel + 1) * width)
                    weight[position, :, start : start + width] = kernel[:, span]
                    bias[position, start : start + width] = offset[span]
                    first = position * channels * most + start
                    picked[channel, bin : bin + width] = first + np.arange(width)
                position, bin = position + 1, bin + width
        x = self.node("Transpose", x, perm=(0, 2, 3, 1))
        x = self.node("Reshape", x, self.integers(0, -1, config.positions, 1, width0))
        x = self.node("MatMul", x, self._weight("leave.weight", weight))
        x = self.node("Add", x, self._weight("leave.bias", bias[:, None]))
        x = self.node("Reshape", x, self.integers(0, -1, config.positions * channels * most))
        rows = [
            self.node("Gather", x, self.constant(f"leave.bins{i}", picked[i]), axis=2)
            for i in range(channels)
        ]
        rows = [self.node("Unsqueeze", row, self.integers(1)) for row in rows]
        gain = self.node("Sigmoid", rows[0])
        if config.phase:
            real, imaginary = self.node("Add", rows[1], self.number(1.0)), rows[2]
            power = self.node(
                "Add", self.node("Mul", real, real), self.node("Mul", imaginary, imaginary)
            )
            length = self.node("Sqrt", self.node("Max", power, self.number(ROTATION_POWER_FLOOR)))
            parts = [self.node("Div", real, length), self.node("Div", imaginary, length)]
        else:
            zero = self.node("Mul", gain, self.number(0.0))
            parts = [self.node("Add", zero, self.number(1.0)), zero]
        self.node("Concat", gain, *parts, output="mask", axis=1)

    def _site(self, x: str, site: Site) -> str:
        scale, shift = self._film[2 * site.number : 2 * site.number + 2]
        x = self.node("Add", self.node("Mul", x, scale), shift)
        return self.node("LeakyRelu", x, alpha=LEAK)

    def _block(self, x: str, block: ResidualBlock, name: str, positions: int) -> str:
        y = self._convolution(self._site(x, block.site1), block.conv1, f"{name}.1", positions)
        y = self._convolution(self._site(y, block.site2), block.conv2, f"{name}.2", positions)
        if block.shortcut is not None:
            x = self._pointwise(x, block.shortcut, f"{name}.shortcut")
        return self.node("Add", y, x)

    def _convolution(self, x: str, layer: Convolution, name: str, positions: int) -> str:
        if layer.taps > 1:
            x = self._extended(x, name, layer.conv.in_channels, layer.taps - 1, positions)
        return self.node("Conv", x, self._weight(name, layer.conv.weight), pads=(0, 1, 0, 1))

    def _pointwise(self, x: str, layer: nn.Conv2d, name: str) -> str:
        return self.node(
            "Conv", x, self._weight(name, layer.weight), self._weight(f"{name}.bias", layer.bias)
        )

    def _extended(self, x: str, name: str, channels: int, frames: int, positions: int) -> str:
        """The frames of the state in front of ``x``; the last of all are the next state."""
        self.states[name] = (channels, frames, positions)
        x = self.node("Concat", STATE_IN + name, x, axis=2)
        last = self.integers(-frames), self.integers(np.iinfo(np.int64).max), self.integers(2)
        self.node("Slice", x, *last, output=STATE_OUT + name)
        return x

    def _delayed(self, skip: str, name: str, level: DecoderLevel, positions: int) -> str:
        channels = level.up.out_channels
        x = self._extended(skip, name, channels, level.delay, positions)
        span = self.integers(0), self.integers(-level.delay), self.integers(2)
        return self.node("Slice", x, *span)

    def _past(self, x: str, positions: int) -> str:
        past = self._net.past
        size, squeezed = past.cell.hidden_size, past.squeezed
        self.states["past"] = (size,)
        y = self._pointwise(self._site(x, past.site), past.enter, "past.enter")
        y = self.node("Transpose", y, perm=(2, 0, 1, 3))
        y = self.node("Reshape", y, self.integers(0, 0, size))

        def gates(tensor: Tensor | nn.Module) -> NDArray[np.float64]:
            # PyTorch has reset, update, new; ONNX update, reset, new.
            reset, update, new = np.split(_array(tensor), 3)
            return np.concatenate([update, reset, new])

        cell = past.cell
        biases = np.concatenate([gates(cell.bias_ih_l0), gates(cell.bias_hh_l0)])
        before = self.node("Unsqueeze", STATE_IN + "past", self.integers(0))
        made, after = "past.frames", "past.after"
        self.nodes.append(
            helper.make_node(
                "GRU",
                [
                    y,
                    self._weight("past.input", gates(cell.weight_ih_l0)[None]),
                    self._weight("past.recurrence", gates(cell.weight_hh_l0)[None]),
                    self._weight("past.bias", biases[None]),
                    "",
                    before,
                ],
                [made, after],
                "past",
                hidden_size=size,
                linear_before_reset=1,
            )
        )
        self.node("Squeeze", after, self.integers(0), output=STATE_OUT + "past")
        # (frames, 1, batch, size)
        y = self.node("Squeeze", made, self.integers(1))
        y = self.node("Reshape", y, self.integers(0, 0, squeezed, positions))
        y = self.node("Transpose", y, perm=(1, 2, 0, 3))
        return self.node("Add", x, self._pointwise(y, past.leave, "past.leave"))

    def _weight(self, name: str, value: Tensor | NDArray | None) -> str:
        array = _array(value) if isinstance(value, Tensor) else value
        assert array is not None
        return self.constant(f"{name}.value", array.astype(np.float32))


def _places(config: StreamingConfig) -> NDArray[np.int64]:
    """The bins of every position, (positions, most of one); the first bin fills what is left."""
    most = max(width for _, width in config.band_groups)
    places = np.zeros((config.positions, most), np.int64)
    position = first = 0
    for count, width in config.band_groups:
        for _ in range(count):
            places[position, :width] = first + np.arange(width)
            position, first = position + 1, first + width
    return places


def _gemm(
    graph: Graph, x: str, name: str, weight: NDArray[np.float64], bias: NDArray[np.float64]
) -> str:
    return graph.node(
        "Gemm",
        x,
        graph.constant(f"{name}.weight", weight.astype(np.float32)),
        graph.constant(f"{name}.bias", bias.astype(np.float32)),
        transB=1,
    )


def _affine(norm: nn.BatchNorm2d) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    assert norm.running_var is not None and norm.running_mean is not None
    scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
    return scale, _array(norm.bias) - _array(norm.running_mean) * scale


def _array(tensor: Tensor | nn.Module | None) -> NDArray[np.float64]:
    assert isinstance(tensor, Tensor)
    return tensor.detach().double().numpy()


def _floats(name: str, *shape: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

"""A whole separator as one ONNX graph of fixed length: waveform and condition in, waveform out.

For programs that want to run a single file and no STFT code. The Fourier transforms are matrix
products and a convolution with their kernels: slower than an FFT, but every runtime has them.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from audiosep_core.model.config import MAGNITUDE_FLOOR, PADDING
from audiosep_core.model.network import SeparatorNetwork
from audiosep_core.signal.stft import hann
from audiosep_export.graphs.fourier import fourier_transform
from audiosep_export.graphs.onnx_graph import IR_VERSION, OPSET
from audiosep_export.graphs.separator_graph import SeparatorGraph

_WEIGHT_FLOOR = 1e-11


def waveform_model(net: SeparatorNetwork, samples: int) -> onnx.ModelProto:
    """``waveform.onnx``: :meth:`SeparatorNetwork.forward` for one mono signal.

    Inputs: ``waveform`` (1, 1, samples) at the model's rate; ``condition`` (1,
    condition_size). Output: ``target`` (1, 1, samples). All float32.

    Args:
        net: The network.
        samples: Length; more than half a window.

    Raises:
        ValueError: The length is too short to be reflected at its ends.
    """
    config = net.config
    if samples <= config.n_fft // 2:
        raise ValueError(
            f"a waveform graph needs more than {config.n_fft // 2} samples, not {samples}"
        )
    frames = config.frames(samples)
    missing = config.padded_frames(frames) - frames
    graph = SeparatorGraph(net)
    half = config.n_fft // 2
    padded = graph.node("Pad", "waveform", graph.integers(0, 0, half, 0, 0, half), mode="reflect")
    spectrum = fourier_transform(graph, padded, config.n_fft, config.hop_length, frames)
    channels, zero, one, two = (graph.integers(i) for i in (1, 0, 1, 2))
    power = graph.node("ReduceSum", graph.node("Mul", spectrum, spectrum), channels, keepdims=1)
    power = graph.node("Max", power, graph.number(MAGNITUDE_FLOOR**2))
    ends = graph.integers(0, 0, 0, 0, 0, 0, missing, 0)
    magnitude = graph.node("Pad", graph.node("Sqrt", power), ends, graph.number(PADDING))
    mask = graph.mask(magnitude, "condition", "mask")
    mask = graph.node("Slice", mask, zero, graph.integers(frames), two)
    gain, cosine, sine = (
        graph.node("Slice", mask, graph.integers(i), graph.integers(i + 1), channels)
        for i in range(3)
    )
    real = graph.node("Slice", spectrum, zero, one, channels)
    imaginary = graph.node("Slice", spectrum, one, two, channels)

    def products(sign: str, first: str, second: str) -> str:
        return graph.node(
            sign, graph.node("Mul", real, first), graph.node("Mul", imaginary, second)
        )

    turned = graph.node(
        "Concat", products("Sub", cosine, sine), products("Add", sine, cosine), axis=1
    )
    turned = graph.node("Transpose", graph.node("Mul", turned, gain), perm=(0, 1, 3, 2))
    turned = graph.node("Reshape", turned, graph.integers(1, 2 * config.bins, frames))
    inverse = graph.constant("inverse_fourier", _inverse_fourier(config.n_fft)[:, None])
    overlapped = graph.node("ConvTranspose", turned, inverse, strides=[config.hop_length])
    # Behind the last frame there may be less than half a window; nothing covers what is beyond.
    length = (frames - 1) * config.hop_length + config.n_fft
    weight = _overlapped_window(config.n_fft, config.hop_length, frames)
    waveform = graph.node("Div", overlapped, graph.constant("overlap", weight))
    end = min(half + samples, length)
    waveform = graph.node("Slice", waveform, graph.integers(half), graph.integers(end), two)
    lacking = graph.integers(0, 0, 0, 0, 0, half + samples - end)
    graph.node("Pad", waveform, lacking, output="target")

    def values(name: str, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    return graph.model(
        "waveform_separator",
        [values("waveform", 1, 1, samples), values("condition", 1, config.condition_size)],
        [values("target", 1, 1, samples)],
        OPSET,
        IR_VERSION,
    )


def _inverse_fourier(n_fft: int) -> NDArray[np.float32]:
    """(2 · bins, n_fft): what a bin's real and imaginary part add to a windowed frame."""
    steps = np.outer(np.arange(n_fft // 2 + 1), np.arange(n_fft)) % n_fft
    phases = steps * (2 * np.pi / n_fft)
    # All bins but the first and the last stand for their mirror image as well.
    share = np.full((n_fft // 2 + 1, 1), 2 / n_fft)
    share[[0, -1]] = 1 / n_fft
    kernels = np.concatenate([np.cos(phases) * share, -np.sin(phases) * share]) * hann(n_fft)
    return kernels.astype(np.float32)


def _overlapped_window(n_fft: int, hop_length: int, frames: int) -> NDArray[np.float32]:
    """Sum of the squared windows of all frames, which overlap-add is divided by."""
    total = np.zeros((frames - 1) * hop_length + n_fft)
    for frame in range(frames):
        total[frame * hop_length : frame * hop_length + n_fft] += hann(n_fft) ** 2
    return np.maximum(total, _WEIGHT_FLOOR).astype(np.float32)

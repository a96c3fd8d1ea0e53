"""The Fourier transform inside of the waveform graph."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from audiosep_core.signal.stft import hann
from audiosep_export.graphs.fourier import fourier_transform
from audiosep_export.graphs.onnx_graph import IR_VERSION, OPSET, Graph


@pytest.mark.parametrize(
    "window, hop, frames", [(1024, 320, 7), (1536, 512, 3), (256, 64, 1), (26, 13, 5), (14, 3, 4)]
)
@pytest.mark.parametrize("signal", ["sine", "noise"])
def test_nothing_is_heard_where_there_is_nothing(window, hop, frames, signal):
    """A full-scale sine on a bin leaves no more in the others than in double precision."""
    length = (frames - 1) * hop + window + 2
    samples = {
        "sine": np.sin(2 * np.pi * (window // 8) / window * np.arange(length)),
        "noise": np.random.default_rng(0).uniform(-1, 1, length),
    }[signal].astype(np.float32)
    graph, bins = Graph(), window // 2 + 1
    graph.node("Identity", fourier_transform(graph, "x", window, hop, frames), output="y")
    model = graph.model(
        "transform",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, length])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, frames, bins])],
        OPSET,
        IR_VERSION,
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": samples[None, None]})
    pieces = np.stack([samples[hop * n : hop * n + window] for n in range(frames)])
    expected = np.fft.rfft(pieces.astype(np.float64) * hann(window))
    error = np.abs(found[0, 0] + 1j * found[0, 1] - expected)
    # What float32 rounds of a bin, and next to nothing where the bin holds next to nothing.
    assert (error <= 1e-7 * np.abs(expected) + 1e-12 * window).all()

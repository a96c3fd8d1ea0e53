"""The Fourier transform of overlapping frames, in plain matrix products.

In single precision, sums over a window leave -110 to -145 dB of a full-scale sine in bins where
there is nothing, an FFT less; a network that sees logarithms tells that from silence. So the
transform is in double precision, and in two products over the factors of the window's length
(Cooley and Tukey 1965), which take far fewer multiplications than one over the whole window.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from audiosep_core.signal.stft import hann
from audiosep_export.graphs.onnx_graph import Graph


def fourier_transform(graph: Graph, signal: str, n_fft: int, hop_length: int, frames: int) -> str:
    """Append the spectra of Hann-windowed frames.

    Args:
        graph: What is added to.
        signal: Value of shape (1, 1, samples) in float32, at least as long as the frames reach.
        n_fft: Of the transform, in samples.
        hop_length: Samples from frame to frame.
        frames: How many.

    Returns:
        Value of shape (1, 2, frames, window // 2 + 1) in float32: real and imaginary part.
    """
    x = graph.node("Cast", signal, to=TensorProto.DOUBLE)
    x = graph.node(
        "Mul",
        _frames(graph, x, n_fft, hop_length, frames),
        graph.constant("hann", hann(n_fft).astype(np.float64)),
    )
    rows, columns = _factors(n_fft)
    # Sample n of a frame is in row n // columns; bin k comes out of row k % rows.
    x = graph.node("Reshape", x, graph.integers(frames, rows, columns))
    x = graph.node("MatMul", graph.constant("fourier_rows", _row_kernels(rows)), x)
    x = graph.node("Reshape", x, graph.integers(frames, 2, rows, columns))
    x = graph.node("Transpose", x, perm=(2, 0, 1, 3))
    x = graph.node("Reshape", x, graph.integers(rows, frames, 2 * columns))
    x = graph.node("MatMul", x, graph.constant("fourier_bins", _bin_kernels(rows, columns)))
    x = graph.node("Reshape", x, graph.integers(rows, frames, 2, -1))
    x = graph.node("Transpose", x, perm=(2, 1, 3, 0))
    x = graph.node("Reshape", x, graph.integers(1, 2, frames, -1))
    ends = graph.integers(0), graph.integers(n_fft // 2 + 1)
    return graph.node(
        "Cast", graph.node("Slice", x, *ends, graph.integers(3)), to=TensorProto.FLOAT
    )


def _frames(graph: Graph, signal: str, n_fft: int, hop_length: int, frames: int) -> str:
    """(frames, n_fft), gathered in the largest pieces that windows and hops are made of."""
    piece = math.gcd(n_fft, hop_length)
    length = (frames - 1) * hop_length + n_fft
    x = graph.node("Slice", signal, graph.integers(0), graph.integers(length), graph.integers(2))
    x = graph.node("Reshape", x, graph.integers(-1, piece))
    starts = np.arange(frames)[:, None] * (hop_length // piece)
    x = graph.node("Gather", x, graph.constant("pieces", starts + np.arange(n_fft // piece)))
    return graph.node("Reshape", x, graph.integers(frames, n_fft))


def _factors(n_fft: int) -> tuple[int, int]:
    """Two factors, the first at most the second, as close as they get."""
    rows = max(n for n in range(1, math.isqrt(n_fft) + 1) if n_fft % n == 0)
    return rows, n_fft // rows


def _row_kernels(rows: int) -> NDArray[np.float64]:
    """(2 · rows, rows): a transform over the rows, real parts before imaginary ones."""
    turns = np.outer(np.arange(rows), np.arange(rows)) % rows / rows
    return np.concatenate([np.cos(2 * np.pi * turns), -np.sin(2 * np.pi * turns)])


def _bin_kernels(rows: int, columns: int) -> NDArray[np.float64]:
    """(rows, 2 · columns, 2 · bins of a row): what each column adds to the bins of its row."""
    row = np.arange(rows)[:, None, None]
    column = np.arange(columns)[:, None]
    bins = row + rows * np.arange(columns // 2 + 1)
    angles = column * bins % (rows * columns) * (2 * np.pi / (rows * columns))
    cosine, sine = np.cos(angles), np.sin(angles)
    real = np.concatenate([cosine, -sine], axis=2)
    imaginary = np.concatenate([sine, cosine], axis=2)
    return np.concatenate([real, imaginary], axis=1)

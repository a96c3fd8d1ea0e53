"""The frame-by-frame STFT equals PyTorch's, in any partition, and inverts exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.signal.stft import Analysis, Synthesis


def whole(signal: np.ndarray, window: int, hop: int) -> np.ndarray:
    return (
        torch.stft(
            torch.from_numpy(signal),
            window,
            hop,
            window=torch.hann_window(window),
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        .transpose(1, 2)
        .numpy()
    )


def in_blocks(signal: np.ndarray, window: int, hop: int, sizes: list[int]) -> np.ndarray:
    analysis = Analysis(window, hop, len(signal))
    parts, position, turn = [], 0, 0
    while position < signal.shape[1]:
        size = sizes[turn % len(sizes)]
        parts.append(analysis.push(signal[:, position : position + size]))
        position, turn = position + size, turn + 1
    return np.concatenate([*parts, analysis.finish()], 1)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(130, 3000),
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=5),
    window_and_hop=st.sampled_from([(256, 64), (256, 80), (192, 64), (256, 127)]),
)
def test_blocks_equal_the_whole(length, sizes, window_and_hop):
    window, hop = window_and_hop
    signal = np.random.default_rng(length).standard_normal((2, length)).astype(np.float32)
    spectra = in_blocks(signal, window, hop, sizes)
    expected = whole(signal, window, hop)
    assert spectra.shape == expected.shape
    assert np.abs(spectra - expected).max() < 1e-4


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 3000), batch=st.integers(1, 9))
def test_synthesis_inverts_analysis(length, batch):
    window, hop = 256, 80
    signal = np.random.default_rng(length).standard_normal((2, length)).astype(np.float32)
    spectra = in_blocks(signal, window, hop, [length])
    synthesis = Synthesis(window, hop, (2,))
    parts = [
        synthesis.push(spectra[:, start : start + batch])
        for start in range(0, spectra.shape[1], batch)
    ]
    restored = np.concatenate([*parts, synthesis.finish()], -1)[:, :length]
    assert restored.shape == signal.shape
    assert np.abs(restored - signal).max() < 1e-5


@pytest.mark.parametrize("length", [1, 5, 127, 128, 129])
def test_signals_shorter_than_a_window(length):
    spectra = in_blocks(np.ones((1, length), np.float32), 256, 64, [length])
    assert spectra.shape == (1, max(length, 129) // 64 + 1, 129)

"""The STFT of streaming networks: every frame ends with the newest sample.

Windows are measured in hops. The analysis window may be longer than the synthesis window, which
lies at its end: the network then sees fine frequencies, and the sound waits for two hops only.
The product of both windows overlaps to one. All arrays are float32/complex64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft as scipy_fft

from audiosep_core.signal.fifo import Fifo


def window_pair(
    hop_length: int, overlap: int, synthesis: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Analysis and synthesis window, both (overlap · hop_length,).

    With equal lengths both are Hann windows, the second one divided by the sum of their
    products. Otherwise the analysis window rises over all but the last hop and falls over it,
    each a quarter of a sine, and the synthesis window makes of it a Hann window of two hops
    (Mauler and Martin 2007).

    Args:
        hop_length: In samples.
        overlap: Length of the analysis window, in hops.
        synthesis: Length of the synthesis window, in hops: ``overlap`` or 2.

    Raises:
        ValueError: The lengths do not go together.
    """
    if synthesis not in (2, overlap) or overlap < 2:
        raise ValueError(
            f"a synthesis window of {synthesis} hops does not fit an analysis window of {overlap}: "
            f"choose 2 or {overlap}"
        )
    size = overlap * hop_length
    n = np.arange(size)
    if synthesis == overlap and overlap > 2:
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / size)
        total = np.square(hann).reshape(overlap, hop_length).sum(0)
        return hann.astype(np.float32), (hann / np.tile(total, overlap)).astype(np.float32)
    rise = size - hop_length
    rising, falling = np.pi * n / (2 * rise), np.pi * (n - rise) / (2 * hop_length)
    analysis = np.where(n < rise, np.sin(rising), np.cos(falling))
    product = np.sin(np.pi * (n - (size - 2 * hop_length)) / (2 * hop_length)) ** 2
    heard = n >= size - 2 * hop_length
    pair = np.where(heard, product / np.maximum(analysis, 1e-6), 0)
    return analysis.astype(np.float32), pair.astype(np.float32)


class CausalAnalysis:
    """Samples in, spectra of the frames that have become complete out.

    Frame ``t`` ends with sample ``(t + 1) * hop_length``; before the first sample lies silence.

    Args:
        window: (overlap · hop_length,) analysis window.
        hop_length: In samples.
        channels: Of the signal.
    """

    def __init__(self, window: NDArray[np.float32], hop_length: int, channels: int) -> None:
        self._window, self._hop_length, self._channels = window, hop_length, channels
        self._buffer = Fifo((channels,))
        self._buffer.push_zeros(len(window) - hop_length)

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.complex64]:
        """(channels, n) to (channels, new frames, bins)."""
        self._buffer.push(samples)
        size, hop_length = len(self._window), self._hop_length
        count = (len(self._buffer) - size) // hop_length + 1
        if count < 1:
            return np.empty((self._channels, 0, size // 2 + 1), np.complex64)
        span = self._buffer.peek((count - 1) * hop_length + size)
        framed = np.empty((self._channels, count, size), np.float32)
        for frame in range(count):
            start = frame * hop_length
            np.multiply(span[:, start : start + size], self._window, out=framed[:, frame])
        spectra: NDArray[np.complex64] = scipy_fft.rfft(framed, axis=-1, overwrite_x=True)
        self._buffer.drop(count * hop_length)
        return spectra


class CausalSynthesis:
    """Spectra in, samples that no later frame changes out: the inverse of :class:`CausalAnalysis`.

    Args:
        window: (overlap · hop_length,) synthesis window, zero before its own hops.
        hop_length: In samples.
        synthesis: Its length in hops.
        shape: Of the signals before their time axis.
    """

    def __init__(
        self, window: NDArray[np.float32], hop_length: int, synthesis: int, shape: tuple[int, ...]
    ) -> None:
        self._hop_length, self._size = hop_length, len(window)
        self._heard = synthesis * hop_length
        self._window = window[-self._heard :]
        self.shape = shape
        self._rest = np.zeros((*shape, self._heard - hop_length), np.float32)
        #: Samples before the start of the signal that the first frames reach into.
        self._skip = self._heard - hop_length

    def push(self, spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
        """(*shape, frames, bins) to (*shape, samples): a hop a frame, fewer at the start."""
        frames, hop_length = spectra.shape[-2], self._hop_length
        waves = scipy_fft.irfft(spectra, self._size, axis=-1)[..., -self._heard :] * self._window
        total = np.zeros(
            (*self._rest.shape[:-1], frames * hop_length + self._heard - hop_length), np.float32
        )
        total[..., : self._rest.shape[-1]] = self._rest
        for frame in range(frames):
            total[..., frame * hop_length : frame * hop_length + self._heard] += waves[
                ..., frame, :
            ]
        self._rest = total[..., frames * hop_length :].copy()
        skipped = min(self._skip, frames * hop_length)
        self._skip -= skipped
        return total[..., skipped : frames * hop_length]

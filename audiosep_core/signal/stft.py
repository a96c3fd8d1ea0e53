"""Short-time Fourier transform, frame by frame, and its inverse.

Centred frames of a periodic Hann window with reflected edges, as in the reference
(``torchlibrosa.STFT(center=True, pad_mode="reflect")``). All arrays are float32/complex64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft as scipy_fft

from audiosep_core.signal.fifo import Fifo


def hann(length: int) -> NDArray[np.float32]:
    """Periodic Hann window (length,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


class Analysis:
    """Samples in, spectra of the frames that have become complete out.

    Frame ``k`` is centred on sample ``k * hop_length`` and needs samples up to
    ``k * hop_length + n_fft / 2``.
    """

    def __init__(self, n_fft: int, hop_length: int, channels: int) -> None:
        self._hop_length = hop_length
        self._half = n_fft // 2
        self._window = hann(n_fft)
        self._channels = channels
        self._buffer = Fifo((channels,))
        self._started = False

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.complex64]:
        """(channels, n) to (channels, new frames, bins)."""
        self._buffer.push(samples)
        if not self._started:
            if len(self._buffer) <= self._half:
                return self._frames(0)
            self._reflect_start()
        return self._frames(self._complete())

    def finish(self) -> NDArray[np.complex64]:
        """The last frames; in all there are ``samples // hop_length + 1``."""
        if not self._started:
            # Too short to be reflected: silence makes up the length.
            self._buffer.push_zeros(self._half + 1 - len(self._buffer))
            self._reflect_start()
        tail = self._buffer.peek(len(self._buffer))[:, -self._half - 1 : -1].copy()
        self._buffer.push(tail[:, ::-1])
        return self._frames(self._complete())

    def _reflect_start(self) -> None:
        signal = self._buffer.pop(len(self._buffer))
        self._buffer.push(signal[:, self._half : 0 : -1])
        self._buffer.push(signal)
        self._started = True

    def _complete(self) -> int:
        return max(0, (len(self._buffer) - 2 * self._half) // self._hop_length + 1)

    def _frames(self, count: int) -> NDArray[np.complex64]:
        if not count:
            return np.empty((self._channels, 0, self._half + 1), np.complex64)
        span = self._buffer.peek((count - 1) * self._hop_length + 2 * self._half)
        framed = np.lib.stride_tricks.sliding_window_view(span, 2 * self._half, -1)
        spectra = scipy_fft.rfft(framed[:, :: self._hop_length] * self._window, axis=-1)
        self._buffer.drop(count * self._hop_length)
        return spectra


class Synthesis:
    """Spectra in, samples that no later frame can change out: the inverse of :class:`Analysis`."""

    def __init__(self, n_fft: int, hop_length: int, shape: tuple[int, ...]) -> None:
        self._hop_length = hop_length
        self._size = n_fft
        self._window = hann(n_fft)
        self._sum = np.zeros((*shape, n_fft), np.float32)
        self._weight = np.zeros(n_fft, np.float32)
        # What comes before the centre of the first frame is reflected, not signal.
        self._skip = n_fft // 2

    def push(self, spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
        """(*shape, frames, bins) to (*shape, samples)."""
        frames = spectra.shape[-2]
        if not frames:
            return np.empty((*self._sum.shape[:-1], 0), np.float32)
        waves = scipy_fft.irfft(spectra, self._size, axis=-1) * self._window
        hop_length, keep = self._hop_length, self._size - self._hop_length
        total = np.zeros((*self._sum.shape[:-1], frames * hop_length + keep), np.float32)
        weight = np.zeros(total.shape[-1], np.float32)
        total[..., : self._size] += self._sum
        weight[: self._size] += self._weight
        squared = self._window**2
        for i in range(frames):
            total[..., i * hop_length : i * hop_length + self._size] += waves[..., i, :]
            weight[i * hop_length : i * hop_length + self._size] += squared
        done = frames * hop_length
        self._sum[..., :keep] = total[..., done:]
        self._sum[..., keep:] = 0
        self._weight[:keep] = weight[done:]
        self._weight[keep:] = 0
        return self._normalised(total[..., :done], weight[:done])

    def finish(self) -> NDArray[np.float32]:
        """What the last frames still hold, up to half a window past the last centre."""
        return self._normalised(self._sum, self._weight)

    def _normalised(
        self, total: NDArray[np.float32], weight: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        skipped = min(self._skip, total.shape[-1])
        self._skip -= skipped
        floored = np.maximum(weight[skipped:], 1e-11)
        return np.divide(total[..., skipped:], floored, dtype=np.float32)

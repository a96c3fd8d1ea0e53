"""Separation of a stream: blocks of a mixture in, blocks of its stems out, bounded memory.

This is the one path that audio takes, offline and live: resample to the model's rate, STFT,
masks from windows of frames, masked spectra back to samples, resample to the caller's rate,
add the share of what lies above the model's band.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiosep_core.config import MAGNITUDE_FLOOR
from audiosep_core.fifo import Fifo
from audiosep_core.masking import Estimator, Masker
from audiosep_core.resampling import Resampler
from audiosep_core.selection import Selection
from audiosep_core.stft import Analysis, Synthesis
from audiosep_core.top_band import TopBand
from audiosep_core.windows import Windows


class SeparationStream:
    """Separates one stream.

    Stems are aligned with the mixture: the first sample out belongs to the first sample in.
    How many come out of a call varies; over the whole stream as many come out as went in.

    Args:
        estimator: The network.
        selection: What is separated first.
        sample_rate: Of the mixture and of the stems, in Hz.
        channels: Of the mixture and of each stem.
        windows: Grouping of frames.
        summed: Give one row, the target of all stems, instead of a row for every stem.
    """

    def __init__(
        self,
        estimator: Estimator,
        selection: Selection,
        sample_rate: int,
        channels: int,
        windows: Windows,
        summed: bool = False,
    ) -> None:
        config = estimator.config
        rows = selection.rows(summed)
        self._masker = Masker(estimator, selection, windows, summed)
        self._analysis = Analysis(config.window, config.hop, channels)
        self._synthesis = Synthesis(config.window, config.hop, (rows, channels))
        self._down = Resampler(sample_rate, config.sample_rate, channels)
        #: Stems and, behind them, the mixture as it fits into the model's band.
        self._up = Resampler(config.sample_rate, sample_rate, (rows + 1) * channels)
        self._shape = (rows, channels)
        self._spectra = Fifo((channels,), (config.bins,), np.complex64)
        self._band = Fifo((channels,))
        self._mixture = Fifo((channels,))
        self._out = Fifo((rows + 1, channels))
        self._top: TopBand | None = None
        if sample_rate > config.sample_rate:
            self._top = TopBand(rows, config.sample_rate / (sample_rate * config.hop))

    def select(self, selection: Selection) -> None:
        """Separate something else from the next hop on, with a short cross-fade.

        Raises:
            ValueError: The number of rows would change.
        """
        self._masker.select(selection)

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take a block, return what it completes.

        Args:
            block: (channels, n) float32, finite.

        Returns:
            (rows + 1, channels, m) float32: the stems, or the target, and last the residual,
            which is the mixture less all of them.
        """
        self._mixture.push(block)
        self._take(self._down.push(block))
        return self._out.pop(len(self._out))

    def finish(self) -> NDArray[np.float32]:
        """End the stream, return the rest: (rows + 1, channels, m) float32."""
        self._take(self._down.finish())
        self._mask(self._analysis.finish(), last=True)
        self._emit(self._synthesis.finish(), last=True)
        return self._out.pop(len(self._out))

    def _take(self, band: NDArray[np.float32]) -> None:
        self._band.push(band)
        self._mask(self._analysis.push(band), last=False)

    def _mask(self, spectra: NDArray[np.complex64], last: bool) -> None:
        if not spectra.shape[1] and not last:
            return
        self._spectra.push(spectra)
        for factors, top in self._masker.push(rms_magnitude(spectra), last):
            if self._top is not None:
                self._top.push(top)
            frames = factors.shape[1]
            masked = self._spectra.peek(frames) * factors[:, None]
            self._spectra.drop(frames)
            self._emit(self._synthesis.push(masked), last=False)

    def _emit(self, stems: NDArray[np.float32], last: bool) -> None:
        """Take stems at the model's rate, at most as long as the mixture was."""
        rows, channels = self._shape
        count = min(stems.shape[-1], len(self._band))
        band = self._band.pop(count)
        flat = stems[..., :count].reshape(rows * channels, count)
        stacked = np.concatenate([flat, band])
        parts = [self._up.push(stacked)]
        if last:
            parts.append(self._up.finish())
        for part in parts:
            shaped = part.reshape(rows + 1, channels, part.shape[-1])
            # Rounding at the end of a stream may leave a sample more or less than went in.
            wanted = min(shaped.shape[-1], len(self._mixture))
            self._finish_block(shaped[:-1, :, :wanted], shaped[-1, :, :wanted])
        if last and len(self._mixture):
            missing = len(self._mixture)
            silence = np.zeros((rows + 1, channels, missing), np.float32)
            self._finish_block(silence[:-1], silence[-1])

    def _finish_block(self, stems: NDArray[np.float32], band: NDArray[np.float32]) -> None:
        count = stems.shape[-1]
        mixture = self._mixture.peek(count)
        if self._top is not None:
            top = mixture - band
            stems = stems + top * self._top.gains(count)[:, None]
        residual = mixture - stems.sum(0)
        self._out.push(np.concatenate([stems, residual[None]]))
        self._mixture.drop(count)


def rms_magnitude(spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
    """What the network sees of several channels: their RMS magnitude, floored at 1e-5.

    Args:
        spectra: (channels, frames, bins).

    Returns:
        (frames, bins) float32; for one channel, its magnitude.
    """
    power = (spectra.real**2 + spectra.imag**2).mean(0)
    return np.maximum(np.sqrt(power), MAGNITUDE_FLOOR)

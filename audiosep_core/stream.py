"""Separation of a stream: blocks of a mixture in, blocks of its stems out, bounded memory.

This is the one path that audio takes, offline and live: resample to the model's rate, STFT,
masks from windows of frames, masked spectra back to samples, resample to the caller's rate,
add the share of what lies above the model's band.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from audiosep_core.config import MAGNITUDE_FLOOR, PADDING
from audiosep_core.fifo import Fifo
from audiosep_core.resampling import Resampler
from audiosep_core.session import MaskEstimator
from audiosep_core.stft import Analysis, Synthesis


@dataclasses.dataclass(frozen=True)
class Windows:
    """How frames are grouped for the network: [context | hop | look-ahead].

    Attributes:
        hop: Frames whose masks one call of the network yields.
        context: Frames before them that the network sees as well.
        look_ahead: Frames behind them that the network sees as well.
    """

    hop: int
    context: int
    look_ahead: int

    def __post_init__(self) -> None:
        if self.hop < 1 or self.context < 0 or self.look_ahead < 0:
            raise ValueError(
                f"a window needs a hop of at least one frame and no negative part: {self}"
            )


class SeparationStream:
    """Separates one stream by a fixed list of queries.

    Stems are aligned with the mixture: the first sample out belongs to the first sample in.
    How many come out of a call varies; over the whole stream as many come out as went in.

    Args:
        estimator: The network.
        conditions: (queries, condition_size) embeddings.
        sample_rate: Of the mixture and of the stems, in Hz.
        channels: Of the mixture and of each stem.
        windows: Grouping of frames.
    """

    def __init__(
        self,
        estimator: MaskEstimator,
        conditions: NDArray[np.float32],
        sample_rate: int,
        channels: int,
        windows: Windows,
    ) -> None:
        config = estimator.config
        queries = len(conditions)
        self._masker = _Masker(estimator, conditions, windows)
        self._analysis = Analysis(config.window, config.hop, channels)
        self._synthesis = Synthesis(config.window, config.hop, (queries, channels))
        self._down = Resampler(sample_rate, config.sample_rate, channels)
        #: Stems and, behind them, the mixture as it fits into the model's band.
        self._up = Resampler(config.sample_rate, sample_rate, (queries + 1) * channels)
        self._shape = (queries, channels)
        self._spectra = Fifo((channels,), (config.bins,), np.complex64)
        self._band = Fifo((channels,))
        self._mixture = Fifo((channels,))
        self._out = Fifo((queries + 1, channels))
        self._top: _TopBand | None = None
        if sample_rate > config.sample_rate:
            self._top = _TopBand(queries, config.sample_rate / (sample_rate * config.hop))

    def push(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take a block, return what it completes.

        Args:
            block: (channels, n) float32, finite.

        Returns:
            (queries + 1, channels, m) float32: the stems and, last, the residual, which is the
            mixture less all stems.
        """
        self._mixture.push(block)
        self._take(self._down.push(block))
        return self._out.pop(len(self._out))

    def finish(self) -> NDArray[np.float32]:
        """End the stream, return the rest: (queries + 1, channels, m) float32."""
        self._take(self._down.finish())
        self._mask(self._analysis.finish(), last=True)
        self._emit(self._synthesis.finish(), last=True)
        return self._out.pop(len(self._out))

    def _take(self, band: NDArray[np.float32]) -> None:
        self._band.push(band)
        self._mask(self._analysis.push(band), last=False)

    def _mask(self, spectra: NDArray[np.complex64], last: bool) -> None:
        self._spectra.push(spectra)
        for masks in self._masker.push(rms_magnitude(spectra), last):
            if self._top is not None:
                self._top.push(masks[:, 0])
            frames = masks.shape[2]
            rotation = masks[:, 0] * (masks[:, 1] + 1j * masks[:, 2])
            target = np.multiply(self._spectra.peek(frames), rotation[:, None], dtype=np.complex64)
            self._spectra.drop(frames)
            self._emit(self._synthesis.push(target), last=False)

    def _emit(self, stems: NDArray[np.float32], last: bool) -> None:
        """Take stems at the model's rate, at most as long as the mixture was."""
        queries, channels = self._shape
        count = min(stems.shape[-1], len(self._band))
        band = self._band.pop(count)
        flat = stems[..., :count].reshape(queries * channels, count)
        stacked = np.concatenate([flat, band])
        parts = [self._up.push(stacked)]
        if last:
            parts.append(self._up.finish())
        for part in parts:
            shaped = part.reshape(queries + 1, channels, part.shape[-1])
            # Rounding at the end of a stream may leave a sample more or less than went in.
            wanted = min(shaped.shape[-1], len(self._mixture))
            self._finish_block(shaped[:-1, :, :wanted], shaped[-1, :, :wanted])
        if last and len(self._mixture):
            missing = len(self._mixture)
            silence = np.zeros((queries + 1, channels, missing), np.float32)
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


class _Masker:
    """Collects magnitude frames into windows and runs the network on each."""

    def __init__(
        self, estimator: MaskEstimator, conditions: NDArray[np.float32], windows: Windows
    ) -> None:
        self._estimator = estimator
        self._conditions = conditions
        self._windows = windows
        self._magnitude = Fifo((), (estimator.config.bins,))
        self._past = 0

    def push(self, magnitude: NDArray[np.float32], last: bool) -> list[NDArray[np.float32]]:
        """(frames, bins) in; the masks (queries, 3, frames, bins) of each completed hop out."""
        self._magnitude.push(magnitude)
        hop, ahead = self._windows.hop, self._windows.look_ahead
        masks = []
        while len(self._magnitude) - self._past >= hop + ahead:
            masks.append(self._run(hop, hop + ahead))
        while last and len(self._magnitude) > self._past:
            left = len(self._magnitude) - self._past
            masks.append(self._run(min(hop, left), min(hop + ahead, left), last=True))
        return masks

    def _run(self, hop: int, needed: int, last: bool = False) -> NDArray[np.float32]:
        """The masks of ``hop`` frames; ``needed`` counts them and the look-ahead."""
        past = self._past
        magnitude = self._magnitude.peek(past + needed)
        missing = -len(magnitude) % self._estimator.config.frame_multiple
        # A window is cut short at the ends of the signal and filled up on the side of the cut.
        before = 0 if last else missing
        if missing:
            padding = ((before, missing - before), (0, 0))
            magnitude = np.pad(magnitude, padding, constant_values=PADDING)
        masks = self._estimator.masks(magnitude, self._conditions)
        surplus = max(0, past + hop - self._windows.context)
        self._magnitude.drop(surplus)
        self._past = past + hop - surplus
        return masks[:, :, before + past : before + past + hop]


class _TopBand:
    """The gain that what lies above the model's band gets: the mask's mean over its top octave.

    Args:
        queries: Number of stems.
        frames_per_sample: Frames that one sample of the caller's rate advances.
    """

    def __init__(self, queries: int, frames_per_sample: float) -> None:
        self._step = frames_per_sample
        self._frames = Fifo((queries,))
        self._first = 0
        self._sample = 0

    def push(self, masks: NDArray[np.float32]) -> None:
        """Magnitude masks (queries, frames, bins)."""
        self._frames.push(masks[..., masks.shape[-1] // 2 :].mean(-1))

    def gains(self, count: int) -> NDArray[np.float32]:
        """Gains (queries, count) of the next samples, interpolated between frames."""
        position = (self._sample + np.arange(count)) * self._step
        held = self._frames.peek(len(self._frames))
        index = self._first + np.arange(held.shape[-1])
        gains = np.stack([np.interp(position, index, row) for row in held]).astype(np.float32)
        self._sample += count
        passed = min(int(self._sample * self._step) - self._first, len(self._frames) - 1)
        if passed > 0:
            self._frames.drop(passed)
            self._first += passed
        return gains


def rms_magnitude(spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
    """What the network sees of several channels: their RMS magnitude, floored at 1e-5.

    Args:
        spectra: (channels, frames, bins).

    Returns:
        (frames, bins) float32; for one channel, its magnitude.
    """
    power = (spectra.real**2 + spectra.imag**2).mean(0)
    return np.maximum(np.sqrt(power), MAGNITUDE_FLOOR)

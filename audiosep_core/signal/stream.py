"""Separation of a stream: blocks of a mixture in, blocks of its stems out, bounded memory.

This is the one path that audio takes, offline and live: resample to the model's rate, STFT,
masks from windows of frames, masked spectra back to samples, resample to the caller's rate,
add the share of what lies above the model's band.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from audiosep_core.model.config import MAGNITUDE_FLOOR, SeparatorConfig
from audiosep_core.signal.fifo import Fifo
from audiosep_core.signal.levels import Levels
from audiosep_core.signal.masking import Estimator, Masker
from audiosep_core.signal.resampling import Resampler
from audiosep_core.signal.selection import Selection
from audiosep_core.signal.stft import Analysis, Synthesis
from audiosep_core.signal.timeline import Transition
from audiosep_core.signal.top_band import TopBand
from audiosep_core.signal.windows import Windows

#: Frames that a stem goes on behind its fade, for what the resampler's filter sees there.
_SPARE_FRAMES = 2


class SeparationStream:
    """Separates one stream.

    Stems are aligned with the mixture: the first sample out belongs to the first sample in.
    How many come out of a call varies; over the whole stream as many come out as went in.

    Every condition has a synthesis and a resampler of its own; levels are those of their sound, and
    so move at a sample, as one query gives way to another. Strength and negative queries are of
    the masks, and change with the STFT's frame.

    Args:
        estimator: The network.
        selection: What is separated first.
        sample_rate: Of the mixture and of the stems, in Hz.
        channels: Of the mixture and of each stem.
        windows: Grouping of frames.
        summed: Give one row, the target of all stems, instead of a row for every stem.
        origin: The first sample on a time line on whose grid the hops lie.
    """

    def __init__(
        self,
        estimator: Estimator,
        selection: Selection,
        sample_rate: int,
        channels: int,
        windows: Windows,
        summed: bool = False,
        origin: int = 0,
    ) -> None:
        config = estimator.config
        self._config, self._rate, self._channels = config, sample_rate, channels
        pad, lead = grid_phase(
            origin, config.hop_length, config.sample_rate, sample_rate, windows.hop
        )
        self._masker = Masker(estimator, selection, windows, lead)
        self._levels = Levels(selection, summed, sample_rate)
        self._analysis = Analysis(config.n_fft, config.hop_length, channels)
        self._down = Resampler(sample_rate, config.sample_rate, channels)
        #: The mixture as it fits into the model's band.
        self._up = Resampler(config.sample_rate, sample_rate, channels)
        self._stems: dict[bytes, _Stem] = {}
        #: Samples of the mixture at the model's rate; no stem goes beyond them.
        self._length = 0
        self._spectra = Fifo((channels,), (config.bins,), np.complex64)
        self._low = Fifo((channels,))
        self._mixture = Fifo((channels,))
        self._out = Fifo((self._levels.rows + 1, channels))
        #: Silence that comes before the stream, so that it begins where the grid does.
        self._pad = self._left = pad
        if pad:
            self.push(np.zeros((channels, pad), np.float32))

    def select(self, selection: Selection, position: int) -> int:
        """Separate something else from a sample of the mixture on, within 10 ms.

        A sample that it is too late for stands for the first one that it is not, and none comes
        before that of the last change. What follows within one frame of the STFT takes the place
        of what waits for it. Before the first sample nothing fades.

        Returns:
            The sample.

        Raises:
            ValueError: The number of rows would change.
        """
        check_rows(selection, self._levels)
        masker, levels = self._masker, self._levels
        at = max(position + self._pad, levels.last)
        if at <= self._pad and not masker.next:
            masker.replace(selection)
            levels.change(selection, 0)
            return position
        if selection.same_masks(masker.last):
            at = max(at, levels.position)
        else:
            if masker.next:
                config = self._config
                reached = masker.next * config.hop_length + config.n_fft // 2
                first = math.ceil(reached * self._rate / config.sample_rate)
                at = max(at, levels.position, first)
            change = self._transition(selection, at)
            waiting = masker.waiting(change.heard)
            if waiting is not None and waiting >= levels.position:
                change = self._transition(selection, at := waiting)
            masker.change(change)
        levels.change(selection, at)
        return at - self._pad

    def _transition(self, selection: Selection, at: int) -> Transition:
        config = self._config
        ratio, half = config.sample_rate / self._rate, config.n_fft // 2
        hop_length = config.hop_length
        touches = max(self._masker.next, math.floor((at * ratio - half) / hop_length) + 1)
        heard = max(touches, math.floor(at * ratio / hop_length) + 1)
        end = (at + self._levels.fade) * ratio + half
        released = math.ceil(end / hop_length) + _SPARE_FRAMES
        return Transition(selection, at, touches, heard, released)

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
        return self._finished()

    def finish(self) -> NDArray[np.float32]:
        """End the stream, return the rest: (rows + 1, channels, m) float32."""
        self._take(self._down.finish())
        self._low.push(self._up.finish())
        self._mask(self._analysis.finish(), last=True)
        for stem in self._stems.values():
            stem.finish(self._length)
        # Rounding at the end of a stream may leave a sample more or less than went in.
        left = len(self._mixture)
        self._low.push_zeros(max(0, left - len(self._low)))
        self._emit(left)
        return self._finished()

    def _finished(self) -> NDArray[np.float32]:
        dropped = min(self._left, len(self._out))
        self._out.drop(dropped)
        self._left -= dropped
        return self._out.pop(len(self._out))

    def _take(self, band: NDArray[np.float32]) -> None:
        self._length += band.shape[-1]
        self._low.push(self._up.push(band))
        self._mask(self._analysis.push(band), last=False)

    def _mask(self, spectra: NDArray[np.complex64], last: bool) -> None:
        if not spectra.shape[1] and not last:
            return
        self._spectra.push(spectra)
        frame = self._masker.next
        for hop in self._masker.push(rms_magnitude(spectra), last):
            frames = len(next(iter(hop.values()))[0])
            for key in [key for key in self._stems if key not in hop]:
                self._stems[key].finish(self._length)
            for key, factors in hop.items():
                stem = self._stems.get(key)
                if stem is None or stem.ended:
                    self._stems[key] = stem = _Stem(self._config, self._rate, self._channels, frame)
                stem.push(self._spectra.peek(frames), *factors, self._length)
            self._spectra.drop(frames)
            frame += frames
            running = (stem.end for stem in self._stems.values() if not stem.ended)
            left = min(len(self._mixture), len(self._low))
            self._emit(min(left, min(running) - self._levels.position))

    def _emit(self, count: int) -> None:
        """Mix so many samples, if there are any."""
        if count <= 0:
            return
        at = self._levels.position
        mixture, low = self._mixture.pop(count), self._low.pop(count)
        stems = {key: stem.pop(at, mixture, low) for key, stem in self._stems.items()}
        self._stems = {k: s for k, s in self._stems.items() if not s.ended or s.end > at + count}
        self._out.push(self._levels.mix(stems, mixture))


class _Stem:
    """The sound of one condition at the caller's rate.

    Args:
        config: Of the network.
        rate: The caller's.
        channels: Of the mixture.
        frame: Number of its first frame.

    Attributes:
        end: The sample behind its last one.
        ended: Whether no more come.
    """

    def __init__(self, config: SeparatorConfig, rate: int, channels: int, frame: int) -> None:
        self._channels = channels
        self._synthesis = Synthesis(config.n_fft, config.hop_length, (channels,))
        self._up = Resampler(config.sample_rate, rate, channels)
        period = config.sample_rate // math.gcd(config.sample_rate, rate)
        # It begins where a sample of either rate falls on one of the other.
        lead = frame * config.hop_length % period
        first = (frame * config.hop_length - lead) * rate // config.sample_rate
        self.end = self._begin = first
        self._at = frame * config.hop_length
        self.ended = False
        self._samples = Fifo((channels,))
        self._top: TopBand | None = None
        if rate > config.sample_rate:
            self._top = TopBand(1, config.sample_rate / (rate * config.hop_length), frame, first)
        if lead:
            self._keep(self._up.push(np.zeros((channels, lead), np.float32)))

    def push(
        self,
        spectra: NDArray[np.complex64],
        factors: NDArray[np.complex64],
        top: NDArray[np.float32],
        length: int,
    ) -> None:
        """Take spectra of the mixture and what is made of them.

        Args:
            spectra: (channels, frames, bins).
            factors: (frames, bins).
            top: (frames,) gains of what lies above the model's band.
            length: Samples of the mixture at the model's rate, for :meth:`_resample`.
        """
        if self._top is not None:
            self._top.push(top[None])
        self._resample(self._synthesis.push(spectra * factors), length)

    def finish(self, length: int) -> None:
        """End it; what it still holds comes, up to the mixture's length."""
        if self.ended:
            return
        self.ended = True
        self._resample(self._synthesis.finish(), length)
        self._keep(self._up.finish())

    def pop(
        self, at: int, mixture: NDArray[np.float32], low: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Its samples from ``at`` on, silence where it has none.

        Args:
            at: A sample of the mixture.
            mixture: (channels, n) from there on.
            low: (channels, n), as it fits into the model's band.
        """
        count = mixture.shape[-1]
        out = np.zeros((self._channels, count), np.float32)
        self._samples.drop(min(len(self._samples), max(0, at - self._begin)))
        self._begin = max(at, self._begin)
        lead = min(self._begin - at, count)
        taken = min(count - lead, len(self._samples))
        span = slice(lead, lead + taken)
        out[:, span] = self._samples.pop(taken)
        self._begin += taken
        if self._top is not None and taken:
            out[:, span] += (mixture - low)[:, span] * self._top.gains(taken)
        return out

    def _resample(self, samples: NDArray[np.float32], length: int) -> None:
        # The filter must see the end where the mixture's sees it, or they differ before it.
        inside = samples[:, : max(0, length - self._at)]
        self._at += inside.shape[-1]
        self._keep(self._up.push(inside))

    def _keep(self, samples: NDArray[np.float32]) -> None:
        self._samples.push(samples)
        self.end += samples.shape[-1]


def check_rows(selection: Selection, levels: Levels) -> None:
    """Whether a stream can change to a selection.

    Raises:
        ValueError: The number of rows would change.
    """
    rows = selection.rows(levels.summed)
    if rows != levels.rows:
        raise ValueError(
            f"this stream has {levels.rows} stems, {rows} were asked for; start a new one"
        )


def grid_phase(
    origin: int, hop_length: int, model_rate: int, sample_rate: int, frames: int
) -> tuple[int, int]:
    """Where on the grid a time line's sample lies.

    Args:
        origin: The sample.
        hop_length: Samples from frame to frame at the model's rate.
        model_rate, sample_rate: In Hz.
        frames: Of a hop of the network.

    Returns:
        Samples since frame and sample last fell together, and frames between the start of the
        hop and there.
    """
    ratio = Fraction(hop_length * sample_rate, model_rate)
    cells, pad = divmod(origin, ratio.numerator)
    return pad, cells * ratio.denominator % frames


def rms_magnitude(spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
    """What the network sees of several channels: their RMS magnitude, floored at 1e-5.

    Args:
        spectra: (channels, frames, bins).

    Returns:
        (frames, bins) float32; for one channel, its magnitude.
    """
    power = (spectra.real**2 + spectra.imag**2).mean(0)
    return np.maximum(np.sqrt(power), MAGNITUDE_FLOOR)

"""Waveform in, waveform out with a streaming network in PyTorch, for training.

STFT, running level, mask and overlap-add of whole examples at once; what
:mod:`audiosep_core.signal.stepped_stream` does as the sound arrives gives the same samples.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from audiosep_core.model.streaming_network import Memory, StreamingNetwork

#: As in :mod:`audiosep_core.signal.level`.
_LEAST_POWER = 1e-14
_LEAST_WINDOW = 1e-6


@dataclasses.dataclass
class Separated:
    """What came out for a batch of mixtures.

    Attributes:
        waveform: (batch, samples) estimates, some hops shorter than the mixtures.
        spectra: (batch, frames, all bins) complex, what the waveform was made of.
        past: (batch, recurrent) the recurrent state after the last frame.
    """

    waveform: Tensor
    spectra: Tensor
    past: Tensor


class WaveformNetwork:
    """A streaming network with its STFT.

    Args:
        net: The network; it may move between devices.
        sample_rate: Of the waveforms, in Hz; a multiple of the frame rate.

    Raises:
        ValueError: The rate cannot be divided into frames, or is too low for the network's bins.
    """

    def __init__(self, net: StreamingNetwork, sample_rate: int) -> None:
        config = net.config
        self.net, self.config, self.sample_rate = net, config, sample_rate
        self.hop_length = config.hop_length(sample_rate)
        if self.n_fft // 2 < config.bins - 1:
            raise ValueError(
                f"{sample_rate} Hz holds fewer than the {config.bins} bins that {config.name} "
                f"sees: train at {2 * config.bins * config.bin_hz:g} Hz or more"
            )
        self.analysis, self.synthesis = _window_pair(
            self.hop_length, config.overlap, config.synthesis
        )
        self._scale = 1 / float(self.analysis.sum())
        self._keep = math.exp(-1 / (config.level_seconds * config.frame_rate))

    @property
    def n_fft(self) -> int:
        """Length of the analysis window in samples."""
        return self.config.overlap * self.hop_length

    def spectra(self, waveform: Tensor) -> Tensor:
        """(batch, samples) to (batch, frames, all bins): frame ``t`` ends with hop ``t``."""
        framed = F.pad(waveform, (self.n_fft - self.hop_length, 0)).unfold(
            -1, self.n_fft, self.hop_length
        )
        self.analysis = self.analysis.to(waveform.device)
        return torch.fft.rfft(framed * self.analysis)

    def normalised(self, spectra: Tensor, prior: Tensor | None = None) -> Tensor:
        """Magnitudes of the bins that the network sees, divided by the running level.

        Args:
            spectra: (batch, frames, all bins).
            prior: (batch,) mean power of what came before, over the mean power of the frames; 0
                where nothing came before. None is 0 for all.

        Returns:
            (batch, frames, bins).
        """
        magnitude = spectra[..., : self.config.bins].abs() * self._scale
        power = magnitude.square().mean(-1)
        frames = power.shape[1]
        level = power @ self._smoothing(frames, power.device).T
        if prior is not None:
            count = torch.arange(1, frames + 1, device=power.device)
            forgotten = torch.exp(math.log(self._keep) * count)
            before = (prior * power.mean(1))[:, None]
            blended = level * (1 - forgotten) + forgotten * before
            level = torch.where((prior > 0)[:, None], blended, level)
        return magnitude / level.clamp_min(_LEAST_POWER).sqrt()[..., None]

    def waveform(self, spectra: Tensor) -> Tensor:
        """(batch, frames, all bins) to (batch, samples): the overlap-added frames.

        Frame ``t`` covers the last hops up to hop ``t``, so the last hops, which later frames
        would add to, are left out.
        """
        heard = self.config.synthesis
        self.synthesis = self.synthesis.to(spectra.device)
        waves = torch.fft.irfft(spectra, self.n_fft) * self.synthesis
        parts = waves.unflatten(-1, (-1, self.hop_length))[:, :, -heard:]
        count = parts.shape[1] - heard + 1
        total = parts[:, heard - 1 :, 0]
        for i in range(1, heard):
            total = total + parts[:, heard - 1 - i : heard - 1 - i + count, i]
        return total.flatten(1)

    def __call__(
        self,
        mixture: Tensor,
        condition: Tensor,
        prior: Tensor | None = None,
        past: Tensor | None = None,
    ) -> Separated:
        """Separate a batch.

        Args:
            mixture: (batch, samples).
            condition: (batch, condition_size) query embeddings.
            prior: As :meth:`normalised` takes it.
            past: (batch, recurrent) recurrent state to start from; None starts from silence.
        """
        # Half precision would spoil the spectra; the network alone may have it.
        with torch.autocast(mixture.device.type, enabled=False), torch.no_grad():
            spectra = self.spectra(mixture.float())
            magnitude = self.normalised(spectra, prior)
        frames = spectra.shape[1] // self.config.step_frames * self.config.step_frames
        memory = Memory(None if past is None else {"past": past})
        mask = self.net(magnitude[:, None, :frames], condition, memory).float()
        delay = self.config.look_ahead
        masked = apply_mask(spectra[:, : frames - delay], mask[:, :, delay:])
        return Separated(self.waveform(masked), masked, memory.after["past"])

    def separate(self, mixture: Tensor, condition: Tensor) -> Tensor:
        """Estimates as long as the mixtures: (batch, samples) in and out."""
        config = self.config
        tail = (config.look_ahead + config.synthesis + config.step_frames) * self.hop_length
        whole = F.pad(mixture, (0, tail))
        return self(whole, condition).waveform[:, : mixture.shape[1]]

    def _smoothing(self, frames: int, device: torch.device) -> Tensor:
        """(frames, frames): what each frame before weighs in the level of each frame."""
        number = torch.arange(frames, dtype=torch.float64, device=device)
        age = number[:, None] - number[None]
        weights = torch.where(age >= 0, self._keep ** age.clamp_min(0), 0)
        return (weights / weights.sum(1, keepdim=True)).float()


def apply_mask(spectra: Tensor, mask: Tensor) -> Tensor:
    """Masked spectra.

    Args:
        spectra: (batch, frames, all bins) complex.
        mask: (batch, 3, frames, bins) magnitude, cosine and sine; what lies above these bins
            follows the mean of the magnitudes over their top octave.

    Returns:
        As ``spectra``.
    """
    seen = mask.shape[-1]
    magnitude, cosine, sine = mask.unbind(1)
    low = spectra[..., :seen] * (magnitude * torch.complex(cosine, sine))
    top = magnitude[..., seen // 2 :].mean(-1, keepdim=True)
    return torch.cat([low, spectra[..., seen:] * top], -1)


def _window_pair(hop_length: int, overlap: int, synthesis: int) -> tuple[Tensor, Tensor]:
    """Analysis and synthesis window, as :func:`audiosep_core.signal.causal_stft.window_pair`."""
    size = overlap * hop_length
    n = torch.arange(size, dtype=torch.float64)
    if synthesis == overlap and overlap > 2:
        hann = 0.5 - 0.5 * torch.cos(2 * math.pi * n / size)
        total = hann.square().reshape(overlap, hop_length).sum(0)
        return hann.float(), (hann / total.repeat(overlap)).float()
    rise = size - hop_length
    rising, falling = math.pi * n / (2 * rise), math.pi * (n - rise) / (2 * hop_length)
    analysis = torch.where(n < rise, rising.sin(), falling.cos())
    product = (math.pi * (n - (size - 2 * hop_length)) / (2 * hop_length)).sin().square()
    pair = torch.where(n >= size - 2 * hop_length, product / analysis.clamp_min(_LEAST_WINDOW), 0)
    return analysis.float(), pair.float()

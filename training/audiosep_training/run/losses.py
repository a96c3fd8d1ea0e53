"""What a training minimises.

Losses of windowed networks take waveforms (batch, 1, samples) float32 and give a scalar; that of
streaming networks takes what their separator gives, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from audiosep_core.model.waveform_network import Separated, WaveformNetwork
from audiosep_training.mixer.augmenting import low_pass

#: A target this far under its mixture counts as absent, as a ratio of powers.
_ABSENT = 1e-6
#: Mean power under which a mixture is silence, which teaches nothing.
_SILENCE = 1e-11
#: Of the error over the target: errors under these floors are good enough. The error of an absent
#: target is over the mixture, and higher floors keep it from being worth everything.
_ABSOLUTE_FLOOR, _ABSENT_ABSOLUTE_FLOOR = 0.02, 0.07
_SQUARE_FLOOR, _ABSENT_SQUARE_FLOOR = 0.001, 0.006
_SPECTRAL_FLOOR = 0.01
_SPECTRAL_WEIGHT = 0.25
_ABSENT_WEIGHT = 0.6
#: Exponent of magnitudes, as loudness has it.
_COMPRESSION = 0.3


def waveform_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the waveform (AudioSep, section III-D)."""
    return (estimate - target).abs().mean()


def log_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """Log of the L1 error on the waveform, and of its root mean square, both over the target's.

    The logarithm weighs quiet and loud, easy and hard examples alike, as SDRi does.
    """
    error = estimate - target
    absolute = error.abs().mean((1, 2)) / target.abs().mean((1, 2)).clamp_min(1e-5)
    square = error.square().mean((1, 2)) / target.square().mean((1, 2)).clamp_min(1e-9)
    return 0.5 * torch.log(absolute + 0.02).mean() + 0.25 * torch.log(square + 0.001).mean()


#: Loss by the name it has in ``optimiser.loss``.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": waveform_loss,
    "log": log_loss,
}


@dataclasses.dataclass
class StreamingLoss:
    """What :func:`log_spectral_loss` finds.

    Attributes:
        loss: Scalar.
        present: (batch,) bool: whether the mixture holds the target.
        sdri: (batch,) SDR improvement in dB; of no meaning where the target is absent.
    """

    loss: Tensor
    present: Tensor
    sdri: Tensor


def log_spectral_loss(
    separator: WaveformNetwork,
    separated: Separated,
    mixture: Tensor,
    target: Tensor,
    bandwidth: Tensor,
) -> StreamingLoss:
    """The log loss, and the log of the error of compressed magnitudes.

    For absent targets the errors count over the mixture. Above the bandwidth of an example nothing
    counts: a narrow-band recording says nothing of what is not in it.

    Args:
        separator: For its STFT.
        separated: What it made of the mixture.
        mixture: (batch, samples).
        target: (batch, samples), all zeros where it is absent.
        bandwidth: (batch,) in Hz; infinite where all counts.
    """
    samples = separated.waveform.shape[1]
    target_spectra = separator.spectra(target)
    mixture_spectra = separator.spectra(mixture)
    mixture, target = mixture[:, :samples], target[:, :samples]
    error = separated.waveform - target
    narrow = bandwidth.isfinite().nonzero()[:, 0]
    if len(narrow):
        rate, limits = separator.sample_rate, bandwidth[narrow]
        error, target, mixture = (
            part.index_copy(0, narrow, low_pass(part[narrow], limits, rate))
            for part in (error, target, mixture)
        )
    target_power, mixture_power = target.square().mean(1), mixture.square().mean(1)
    present = target_power > _ABSENT * mixture_power

    def over(of_target: Tensor, of_mixture: Tensor, least: float) -> Tensor:
        return torch.where(present, of_target, of_mixture).clamp_min(least)

    absolute = error.abs().mean(1) / over(target.abs().mean(1), mixture.abs().mean(1), 1e-6)
    square = error.square().mean(1) / over(target_power, mixture_power, 1e-12)
    loss = 0.5 * torch.log(
        absolute + torch.where(present, _ABSOLUTE_FLOOR, _ABSENT_ABSOLUTE_FLOOR)
    ) + 0.25 * torch.log(square + torch.where(present, _SQUARE_FLOOR, _ABSENT_SQUARE_FLOOR))

    config = separator.config
    frames = separated.spectra.shape[1]
    floor = (1e-5 * mixture_power[:, None, None] + 1e-12) * separator.n_fft

    def compressed(spectra: Tensor) -> Tensor:
        seen = spectra[:, :frames, : config.bins]
        return (seen.real.square() + seen.imag.square() + floor).pow(_COMPRESSION / 2)

    hertz = torch.arange(config.bins, device=bandwidth.device) * config.bin_hz
    counts = (hertz < bandwidth[:, None]).float()[:, None]
    wanted = compressed(target_spectra)
    difference = ((compressed(separated.spectra) - wanted).square() * counts).sum((1, 2))
    whole = (compressed(mixture_spectra).square() * counts).sum((1, 2))
    scale = over((wanted.square() * counts).sum((1, 2)), whole, 1e-9)
    loss = loss + _SPECTRAL_WEIGHT * torch.log(difference / scale + _SPECTRAL_FLOOR)

    weight = (mixture_power > _SILENCE) * torch.where(present, 1.0, _ABSENT_WEIGHT)
    rest = (mixture - target).square().mean(1)
    sdri = 10 * torch.log10(rest.clamp_min(1e-12) / error.square().mean(1).clamp_min(1e-12))
    return StreamingLoss((loss * weight).mean(), present, sdri.detach())

"""Resampling where the sound already is, on a GPU for example.

A windowed sinc as in the released code (torchaudio's): six zero crossings on each side, cut off
at 0.99 of the lower Nyquist frequency. The runtime resamples with soxr instead.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

_CROSSINGS = 6
_ROLL_OFF = 0.99


def resample(audio: Tensor, rate: int, wanted: int) -> Tensor:
    """Resample.

    Args:
        audio: (batch, samples) float32.
        rate: Its rate in Hz.
        wanted: That of the result.

    Returns:
        (batch, ceil(samples * wanted / rate)).
    """
    if rate == wanted:
        return audio
    step = math.gcd(rate, wanted)
    old, new = rate // step, wanted // step
    kernel, reach = _kernel(old, new)
    padded = F.pad(audio, (reach, reach + old))
    phases = F.conv1d(padded[:, None], kernel[:, None].to(audio), stride=old)
    samples = -(-audio.shape[-1] * new // old)
    return phases.transpose(1, 2).flatten(1)[:, :samples]


@functools.cache
def _kernel(old: int, new: int) -> tuple[Tensor, int]:
    """One row of taps for each of the ``new`` phases, and how far they reach back."""
    cutoff = min(old, new) * _ROLL_OFF
    reach = math.ceil(_CROSSINGS * old / cutoff)
    taps = torch.arange(-reach, reach + old, dtype=torch.float64) / old
    phases = torch.arange(new, dtype=torch.float64) / new
    time = ((taps - phases[:, None]) * cutoff).clamp(-_CROSSINGS, _CROSSINGS)
    window = torch.cos(time * torch.pi / _CROSSINGS / 2).square()
    return (torch.sinc(time) * window * (cutoff / old)).float(), reach

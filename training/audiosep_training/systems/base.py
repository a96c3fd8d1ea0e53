"""What all comparison systems have in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class System(nn.Module):
    """A network that separates, with the names of its released code in its state dict.

    Attributes:
        sample_rate: Rate in Hz that it works at.
        condition_size: Values that it is asked by; 0 where it knows one kind of target alone.
    """

    sample_rate: int
    condition_size: int = 0

    def separate(self, mixture: Tensor, condition: Tensor | None) -> Tensor:
        """Separate whole sounds, the way the released code does at inference.

        Args:
            mixture: (batch, samples) float32 at :attr:`sample_rate`, of any length.
            condition: (batch, condition_size), or None where nothing is asked.

        Returns:
            (batch, samples): the target.

        Raises:
            ValueError: The condition is missing, or not of the system's size.
        """
        self._check(condition)
        if not mixture.shape[-1]:
            return mixture
        return self._separate(mixture, condition)

    def _separate(self, mixture: Tensor, condition: Tensor | None) -> Tensor:
        """:meth:`separate` for at least one sample and a condition that fits."""
        raise NotImplementedError

    def _check(self, condition: Tensor | None) -> None:
        size = self.condition_size
        if not size:
            return
        if condition is None:
            raise ValueError(f"the system is asked by a condition of {size} values; give one")
        if condition.shape[-1] != size:
            raise ValueError(f"the condition has {condition.shape[-1]} values, not {size}")


def fitted(audio: Tensor, samples: int) -> Tensor:
    """(..., any) cut or padded with zeros at its end to (..., samples)."""
    return F.pad(audio, (0, samples - audio.shape[-1]))


class Spectra(nn.Module):
    """Spectrogram and back: Hann window, centred frames.

    Args:
        n_fft: Samples of a frame.
        hop_length: Samples from one frame to the next.
        edges: What frames see beyond the ends: "reflect" (the sound mirrored) or "constant"
            (silence).
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, edges: str = "reflect") -> None:
        super().__init__()
        self.hop_length = hop_length
        self.edges = edges
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def analyse(self, audio: Tensor) -> Tensor:
        """(batch, samples) to complex (batch, frames, bins)."""
        length = len(self.window)
        # Shorter than this there is nothing to reflect.
        audio = fitted(audio, max(audio.shape[-1], length))
        spectrum = torch.stft(
            audio,
            length,
            self.hop_length,
            window=self.window,
            pad_mode=self.edges,
            return_complex=True,
        )
        return spectrum.transpose(1, 2)

    def synthesise(self, spectrum: Tensor, samples: int) -> Tensor:
        """Complex (batch, frames, bins) to (batch, samples)."""
        length = len(self.window)
        longest = (spectrum.shape[1] - 1) * self.hop_length + length // 2
        audio = torch.istft(
            spectrum.transpose(1, 2),
            length,
            self.hop_length,
            window=self.window,
            length=min(max(samples, length), longest),
        )
        return fitted(audio, samples)

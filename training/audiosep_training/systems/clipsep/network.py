"""CLIPSep and CLIPSep-NIT (Dong et al. 2023): trained on videos alone, asked through CLIP.

Names follow the released code (sony/CLIPSep), whose checkpoints hold them with the prefix
"module.". The condition is CLIP's own embedding, not scaled to unit length: in training the
mean over three frames of the video, afterwards that of a text.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiosep_training.systems.base import Spectra, System
from audiosep_training.systems.clipsep.log_frequency import to_bins, to_log_rows
from audiosep_training.systems.clipsep.unet import WIDTHS, SoundNet

#: Length of an example in training: 256 frames.
SEGMENT_SAMPLES = 65_535
_WINDOW, _HOP = 1024, 256
_FEATURES = 32
_CLIP_SIZE = 512
_FLOOR = 1e-10
_THRESHOLD = 0.5


class ClipSep(System):
    """Separates by the inner product of feature maps of the sound with features of the query.

    Args:
        binary: Whether a mask is rounded to 0 or 1 when separating.
        widths: Channels of the U-Net's levels.
    """

    sample_rate = 16_000
    condition_size = _CLIP_SIZE

    def __init__(self, binary: bool = False, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.binary = binary
        self.sound_net = SoundNet(_FEATURES, widths)
        self.frame_net = nn.Linear(_CLIP_SIZE, _FEATURES)
        self.synth_net = _SynthNet(_FEATURES)
        self.spectra = Spectra(_WINDOW, _HOP, edges="constant")
        self._multiple = 2 ** len(widths)
        self.apply(_initialise)

    def check_length(self, samples: int) -> None:
        """Refuse a length of examples that :meth:`hear` cannot take.

        Raises:
            ValueError: It is no multiple of 128 frames.
        """
        frames = 1 + samples // _HOP
        if frames % self._multiple:
            near = max(self._multiple, frames // self._multiple * self._multiple) * _HOP - 1
            raise ValueError(
                f"{samples} samples are {frames} frames; CLIPSep takes multiples of "
                f"{self._multiple}, such as {near} samples"
            )

    def hear(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """What the loss and the mask are made of.

        Args:
            mixture: (batch, samples), a multiple of 128 frames: 32,767 or 65,535 samples.

        Returns:
            (batch, 1, 256, frames) magnitude in logarithmic rows, and (batch, 32, 256, frames)
            feature maps.
        """
        rows = self.log_rows(self.spectra.analyse(mixture))
        return rows, self.sound_net(rows.log())

    def log_rows(self, spectrum: Tensor) -> Tensor:
        """Complex (batch, frames, 513) to (batch, 1, 256, frames), magnitudes above 0."""
        return to_log_rows(spectrum.abs().transpose(1, 2)[:, None] + _FLOOR)

    def logits(self, features: Tensor, condition: Tensor) -> Tensor:
        """Feature maps and (batch, 512) to the mask's logits, (batch, 1, 256, frames)."""
        return self.synth_net(torch.sigmoid(self.frame_net(condition)), features)

    def mask(self, mixture: Tensor, condition: Tensor) -> Tensor:
        """(batch, samples) and (batch, 512) to a mask in 0…1, (batch, 1, 256, frames)."""
        return torch.sigmoid(self.logits(self.hear(mixture)[1], condition))

    def _separate(self, mixture: Tensor, condition: Tensor | None) -> Tensor:
        assert condition is not None
        samples = mixture.shape[-1]
        frames = 1 + samples // _HOP
        if frames % self._multiple:
            # The released code repeats what does not fill its window.
            length = (frames + -frames % self._multiple) * _HOP - 1
            mixture = mixture.repeat(1, -(-length // samples))[:, :length]
        spectrum = self.spectra.analyse(mixture)
        features = self.sound_net(self.log_rows(spectrum).log())
        mask = to_bins(torch.sigmoid(self.logits(features, condition)), spectrum.shape[2])
        mask = mask[:, 0].transpose(1, 2)
        if self.binary:
            mask = (mask > _THRESHOLD).to(mask.dtype)
        return self.spectra.synthesise(spectrum * mask, samples)


class ClipSepNit(ClipSep):
    """CLIPSep with noise-invariant training: two further masks take up what no query asks for.

    They are needed in training alone.
    """

    def __init__(self, binary: bool = False, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__(binary, widths)
        self.pit_nets = nn.ModuleList(nn.Linear(_FEATURES, _FEATURES) for _ in range(2))
        self.pit_nets.apply(_initialise)

    def noise_logits(self, features: Tensor, conditions: Tensor) -> Tensor:
        """Logits of the two masks for noise.

        Args:
            features: (batch, 32, 256, frames), as :meth:`hear` gives them.
            conditions: (batch, sources, 512) of all that was mixed.

        Returns:
            (batch, 2, 256, frames).
        """
        common = self.frame_net(conditions).mean(1)
        masks = [self.synth_net(torch.sigmoid(net(common)), features) for net in self.pit_nets]
        return torch.cat(masks, 1)


class _SynthNet(nn.Module):
    """Weighted inner product over features."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, query: Tensor, features: Tensor) -> Tensor:
        """(batch, features) and (batch, features, rows, frames) to (batch, 1, rows, frames)."""
        weighted = torch.einsum("bc,bcrt->brt", query * self.scale, features)
        return weighted[:, None] + self.bias


def _initialise(module: nn.Module) -> None:
    """As the released code."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0, 1e-3)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 1e-4)

"""AudioSet-UNet (Kong et al. 2021, arXiv 2102.09971): speech enhancement from weak labels.

Neither code nor weights were released, and this is this project's own reconstruction of what the
paper's abstract says: a conditional U-Net, trained to separate anchor segments that PANNs find in
AudioSet and that are mixed in pairs, asked by PANNs' probabilities of a segment; speech is then
asked for by a one where AudioSet's classes have "Speech". Its layers are those of PANNs: in
every block two 3×3 convolutions with batch norm and rectifier, each shifted by the condition;
it masks the magnitude.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiosep_training.systems.base import Spectra, System
from audiosep_training.systems.uss.panns import CLASS_COUNT, SAMPLE_RATE

_WINDOW, _HOP = 1024, 320
_BINS = _WINDOW // 2 + 1
_WIDTHS = (32, 64, 128, 256, 512)


class AudioSetUNet(System):
    """The reconstruction.

    Args:
        widths: Channels of the levels.
    """

    sample_rate = SAMPLE_RATE
    condition_size = CLASS_COUNT
    condition = "probabilities"

    def __init__(self, widths: Sequence[int] = _WIDTHS) -> None:
        super().__init__()
        self.spectra = Spectra(_WINDOW, _HOP)
        self.bn0 = nn.BatchNorm2d(_BINS)
        down = zip((1, *widths), widths, strict=False)
        self.down = nn.ModuleList(_Block(i, o) for i, o in down)
        self.centre = _Block(widths[-1], widths[-1])
        up = tuple(zip((widths[-1], *reversed(widths)), reversed(widths), strict=False))
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, 2, bias=False) for i, o in up)
        self.up = nn.ModuleList(_Block(2 * o, o) for _, o in up)
        self.after = nn.Conv2d(widths[0], 1, 1)

    def mask(self, magnitude: Tensor, condition: Tensor) -> Tensor:
        """(batch, frames, 513) and (batch, 527) to a mask in 0…1 of the same shape."""
        x = self.bn0(magnitude.transpose(1, 2)[..., None]).permute(0, 3, 2, 1)
        frames = x.shape[2]
        # The highest bin goes, so that 512 are left to be halved.
        x = F.pad(x, (0, -1, 0, -frames % 2 ** len(self.down)))
        skips = []
        for block in self.down:
            x = block(x, condition)
            skips.append(x)
            x = F.avg_pool2d(x, 2)
        x = self.centre(x, condition)
        for enlarge, block, skip in zip(self.enlarge, self.up, reversed(skips), strict=True):
            x = block(torch.cat([enlarge(x), skip], 1), condition)
        return torch.sigmoid(F.pad(self.after(x)[:, 0, :frames], (0, 1)))

    def forward(self, mixture: Tensor, condition: Tensor) -> Tensor:
        """(batch, samples) and (batch, 527) to (batch, samples): the target."""
        spectrum = self.spectra.analyse(mixture)
        target = spectrum * self.mask(spectrum.abs(), condition)
        return self.spectra.synthesise(target, mixture.shape[-1])

    def loss(self, mixture: Tensor, target: Tensor, condition: Tensor) -> Tensor:
        """Mean absolute error of the waveform; sounds are (batch, samples)."""
        return F.l1_loss(self(mixture, condition), target)

    def _separate(self, mixture: Tensor, condition: Tensor | None) -> Tensor:
        assert condition is not None
        return self(mixture, condition)


class _Block(nn.Module):
    """Two 3×3 convolutions with batch norm, shift by the condition, and rectifier."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shift1 = nn.Linear(CLASS_COUNT, outputs)
        self.shift2 = nn.Linear(CLASS_COUNT, outputs)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(batch, inputs, frames, bins) to (batch, outputs, frames, bins)."""
        x = F.relu(self.bn1(self.conv1(x)) + self.shift1(condition)[:, :, None, None])
        return F.relu(self.bn2(self.conv2(x)) + self.shift2(condition)[:, :, None, None])

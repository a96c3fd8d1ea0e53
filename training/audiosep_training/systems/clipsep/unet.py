"""The U-Net that CLIPSep hears with: pix2pix' (Isola et al. 2017), nested as in its code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Channels at each halving; the input has one.
WIDTHS = (64, 128, 256, 512, 512, 512, 512)


class SoundNet(nn.Module):
    """Log magnitude to feature maps.

    Args:
        features: Number of maps.
        widths: Channels of the levels.
    """

    def __init__(self, features: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(1)
        block: _Block | None = None
        for outer, inner in zip(reversed(widths[:-1]), reversed(widths[1:]), strict=True):
            block = _Block(outer, inner, block)
        assert block is not None
        self.unet_block = _Outermost(features, widths[0], block)

    def forward(self, log_magnitude: Tensor) -> Tensor:
        """(batch, 1, rows, frames), both multiples of 2 ** levels, to (batch, features, ...)."""
        return self.unet_block(self.bn0(log_magnitude))


class _Block(nn.Module):
    """One level, and below it all that are deeper; its input is added as further channels."""

    def __init__(self, outer: int, inner: int, deeper: _Block | None) -> None:
        super().__init__()
        down: list[nn.Module] = [nn.LeakyReLU(0.2), _halve(outer, inner)]
        if deeper is not None:
            down += [nn.BatchNorm2d(inner), deeper]
        arriving = inner if deeper is None else 2 * inner
        conv = nn.Conv2d(arriving, outer, 3, padding=1, bias=False)
        self.model = nn.Sequential(*down, nn.ReLU(), _double(), conv, nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, outer, rows, frames) to (batch, 2 · outer, rows, frames)."""
        # In the released code the rectifier overwrites its input before that is passed on.
        x = self.model[0](x)
        return torch.cat([x, self.model[1:](x)], 1)


class _Outermost(nn.Module):
    def __init__(self, features: int, inner: int, deeper: _Block) -> None:
        super().__init__()
        conv = nn.Conv2d(2 * inner, features, 3, padding=1)
        self.model = nn.Sequential(_halve(1, inner), deeper, nn.ReLU(), _double(), conv)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, rows, frames) to (batch, features, rows, frames)."""
        return self.model(x)


def _halve(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def _double() -> nn.Upsample:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)

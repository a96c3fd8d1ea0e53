"""SEGAN (Pascual et al. 2017) and SEGAN+: speech enhancement by an adversarial waveform network.

Names follow the PyTorch code of the same author (santi-pdp/segan_pytorch). "segan" has the sizes
of 2017 in that code: its factors of the skip connections are learned (the original's are 1), and
its discriminator has batch norm, not virtual batch norm.
"""

from __future__ import annotations

import dataclasses
import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiosep_training.systems.base import System, fitted
from audiosep_training.systems.segan.strided import StridedConv1d, StridedConvTranspose1d

SAMPLE_RATE = 16_000
#: Samples that the networks see at a time.
WINDOW = 16_384
_TAPS = 31
_EMPHASIS = 0.95
#: Samples after which less than float32's precision is left of an impulse.
_HEARD = 400
#: Of the noise that is put in when separating, so that the same sound gives the same result.
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Shape:
    """What the two networks have in common.

    Attributes:
        widths: Channels of the encoder's layers.
        stride: Of each.
        bias: Whether the generator's encoder has biases.
        dense: Hidden sizes of the discriminator's end; without, one channel is read instead.
    """

    widths: tuple[int, ...]
    stride: int
    bias: bool
    dense: tuple[int, ...]

    @property
    def code(self) -> tuple[int, int]:
        """Channels and length of what is between encoder and decoder."""
        return self.widths[-1], WINDOW // self.stride ** len(self.widths)


SEGAN_2017 = Shape((16, 32, 32, 64, 64, 128, 128, 256, 256, 512, 1024), 2, True, ())
SEGAN_PLUS = Shape((64, 128, 256, 512, 1024), 4, False, (256, 128))


class Segan(System):
    """The generator; its discriminator is a network of its own.

    Args:
        shape: Sizes.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, shape: Shape = SEGAN_2017) -> None:
        super().__init__()
        self.shape = shape
        encoder = zip((1, *shape.widths), shape.widths, strict=False)
        self.enc_blocks = nn.ModuleList(_Down(i, o, shape.stride, shape.bias) for i, o in encoder)
        for level, width in enumerate(shape.widths[:-1]):
            self.add_module(f"alpha_{level}", _Skip(width))
        up = [*reversed(shape.widths), 1]
        self.dec_blocks = nn.ModuleList(
            _Up(2 * i, o, shape.stride, last=o == 1) for i, o in itertools.pairwise(up)
        )
        self.apply(_initialise)

    def generate(self, noisy: Tensor, z: Tensor) -> Tensor:
        """Enhance.

        Args:
            noisy: (batch, 1, samples), pre-emphasised; :data:`WINDOW` samples in training.
            z: (batch, channels, length) noise as large as the code (:attr:`Shape.code`).

        Returns:
            (batch, 1, samples), pre-emphasised.
        """
        x, skips = noisy, []
        for block in self.enc_blocks:
            before, x = block(x)
            skips.append(before)
        x = torch.cat([z, x], 1)
        for level, block in reversed(list(enumerate(reversed(self.dec_blocks)))):
            x = block(x)
            if level:
                x = torch.cat([x, self.get_submodule(f"alpha_{level - 1}")(skips[level - 1])], 1)
        return x

    def discriminator(self) -> Discriminator:
        """A discriminator with fresh weights for this generator to learn from."""
        return Discriminator(self.shape)

    def _separate(self, mixture: Tensor, condition: Tensor | None) -> Tensor:
        samples = mixture.shape[-1]
        emphasised = fitted(pre_emphasis(mixture), samples + -samples % WINDOW)
        random = torch.Generator().manual_seed(_SEED)
        parts = []
        for window in emphasised.split(WINDOW, -1):
            z = torch.randn(1, *self.shape.code, generator=random).to(mixture)
            z = z.expand(len(mixture), -1, -1)
            parts.append(self.generate(window[:, None], z)[:, 0])
        return de_emphasis(torch.cat(parts, -1)[:, :samples])


class SeganPlus(Segan):
    """SEGAN+: fewer layers that each take a larger stride."""

    def __init__(self, shape: Shape = SEGAN_PLUS) -> None:
        super().__init__(shape)


class Discriminator(nn.Module):
    """Tells clean speech from enhanced speech, beside the noisy speech that it came from.

    Args:
        shape: Sizes, as the generator's.
    """

    def __init__(self, shape: Shape = SEGAN_2017) -> None:
        super().__init__()
        encoder = zip((2, *shape.widths), shape.widths, strict=False)
        self.enc_blocks = nn.ModuleList(
            _Down(i, o, shape.stride, bias=True, norm=True) for i, o in encoder
        )
        channels, length = shape.code
        self.pool_conv: nn.Conv1d | None = None
        if shape.dense:
            sizes = (channels * length, *shape.dense)
            layers: list[nn.Module] = []
            for inputs, outputs in itertools.pairwise(sizes):
                layers += [nn.Linear(inputs, outputs), nn.PReLU(outputs)]
            self.fc: nn.Module = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))
        else:
            self.pool_conv = nn.Conv1d(channels, 1, 1)
            self.fc = nn.Linear(length, 1)
        self.apply(_initialise)

    def forward(self, speech: Tensor, noisy: Tensor) -> Tensor:
        """(batch, 1, WINDOW) clean or enhanced, and noisy, to (batch, 1): near 1 for clean."""
        x = torch.cat([speech, noisy], 1)
        for block in self.enc_blocks:
            _, x = block(x)
        if self.pool_conv is not None:
            x = self.pool_conv(x)
        return self.fc(x.flatten(1))


class _Down(nn.Module):
    """Convolution with a stride, norm, rectifier with one slope for each channel."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, bias: bool, norm: bool = False
    ) -> None:
        super().__init__()
        self.conv = StridedConv1d(inputs, outputs, _TAPS, stride=stride, bias=bias)
        self.norm = nn.BatchNorm1d(outputs) if norm else None
        self.act = nn.PReLU(outputs, init=0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, inputs, samples) to (batch, outputs, samples / stride) before and after."""
        x = F.pad(x, (_TAPS // 2 - 1, _TAPS // 2), mode="reflect")
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return x, self.act(x)


class _Up(nn.Module):
    """Transposed convolution and rectifier; the last layer ends with the hyperbolic tangent."""

    def __init__(self, inputs: int, outputs: int, stride: int, last: bool) -> None:
        super().__init__()
        cut = (_TAPS - stride) // 2
        self.deconv = StridedConvTranspose1d(inputs, outputs, _TAPS, stride=stride, padding=cut)
        self.act: nn.Module = nn.Tanh() if last else nn.PReLU(outputs, init=0)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, samples) to (batch, outputs, samples · stride)."""
        return self.act(self.deconv(x))


class _Skip(nn.Module):
    """A skip connection, with a factor for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.skip_k = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, samples), scaled."""
        return self.skip_k * x


def pre_emphasis(audio: Tensor) -> Tensor:
    """(..., samples): what is left of each sample without 0.95 of the one before it."""
    return torch.cat([audio[..., :1], audio[..., 1:] - _EMPHASIS * audio[..., :-1]], -1)


def de_emphasis(audio: Tensor) -> Tensor:
    """The inverse of :func:`pre_emphasis`."""
    # A first-order recursion as a convolution with its impulse response, as long as it is heard.
    taps = _EMPHASIS ** torch.arange(_HEARD - 1, -1, -1, dtype=torch.float64)
    rows = F.pad(audio.reshape(-1, 1, audio.shape[-1]), (_HEARD - 1, 0))
    return F.conv1d(rows, taps.to(audio)[None, None]).reshape(audio.shape)


def _initialise(module: nn.Module) -> None:
    """Truncated normal weights and zero biases, as the original."""
    if isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.Linear):
        nn.init.trunc_normal_(module.weight, 0, 0.02, -0.04, 0.04)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

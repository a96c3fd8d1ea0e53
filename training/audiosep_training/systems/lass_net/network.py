"""LASS-Net (Liu et al. 2022): BERT, a residual U-Net with FiLM, a mask of the magnitude.

Names follow the released code (liuxubo717/LASS), whose checkpoint holds them below "model" with
the prefix "module.". Its training code was never released; the loss is the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from audiosep_training.systems.base import Spectra, System

SAMPLE_RATE = 32_000
_WINDOW, _HOP = 1024, 512
_BINS = _WINDOW // 2 + 1
#: Bins that the U-Net does not see: 511, halved six times and rounded down, double back to 511.
_LEFT_OUT = 2
_WIDTHS = (32, 64, 128, 256, 384, 384)
_LEAK = 0.01
#: BERT-mini (Turc et al. 2019).
BERT_MINI = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}


_Layer = TypeVar("_Layer", nn.Conv2d, nn.ConvTranspose2d)


class LassNet(System):
    """The whole system, text encoder included: it is trained along.

    Args:
        widths: Channels of the U-Net's six levels.
        bert: Fields of ``transformers.BertConfig``.
    """

    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        widths: Sequence[int] = _WIDTHS,
        bert: Mapping[str, Any] = BERT_MINI,
    ) -> None:
        super().__init__()
        self.text_embedder = TextEmbedder(bert)
        self.condition_size = self.text_embedder.size
        self.UNet = UNet(widths, self.condition_size)
        self.spectra = Spectra(_WINDOW, _HOP)

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Captions to conditions.

        Args:
            input_ids: (batch, tokens): "[CLS]" and the caption, without "[SEP]", padded.
            attention_mask: (batch, tokens): 1 where there is a token.

        Returns:
            (batch, condition_size).
        """
        return self.text_embedder(input_ids, attention_mask)

    def mask(self, magnitude: Tensor, condition: Tensor) -> Tensor:
        """(batch, frames, 513) and (batch, condition_size) to a mask in 0…1 of the same shape."""
        return torch.sigmoid(self.UNet(magnitude[:, None], condition))[:, 0]

    def loss(self, mixture: Tensor, target: Tensor, condition: Tensor) -> Tensor:
        """Mean absolute error of the magnitude; sounds are (batch, samples)."""
        magnitude = self.spectra.analyse(mixture).abs()
        estimate = self.mask(magnitude, condition) * magnitude
        return F.l1_loss(estimate, self.spectra.analyse(target).abs())

    def _separate(self, mixture: Tensor, condition: Tensor | None) -> Tensor:
        assert condition is not None
        spectrum = self.spectra.analyse(mixture)
        target = spectrum * self.mask(spectrum.abs(), condition)
        return self.spectra.synthesise(target, mixture.shape[-1])


class TextEmbedder(nn.Module):
    """BERT's vector of the first token, and a linear layer."""

    def __init__(self, bert: Mapping[str, Any]) -> None:
        super().__init__()
        config = transformers.BertConfig(**bert)
        self.size: int = config.hidden_size
        self.bert_layer = transformers.BertModel(config, add_pooling_layer=False)
        self.linear_layer = nn.Sequential(nn.Linear(self.size, self.size), nn.ReLU())

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, tokens) twice to (batch, size)."""
        hidden = self.bert_layer(input_ids=input_ids, attention_mask=attention_mask)
        return self.linear_layer(hidden.last_hidden_state[:, 0])


class FiLM(nn.Module):
    """A condition to a shift of every channel."""

    def __init__(self, condition_size: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Sequential(
            nn.Linear(condition_size, 2 * channels),
            nn.ReLU(),
            nn.Linear(2 * channels, channels),
            nn.ReLU(),
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(batch, channels, frames, bins), shifted."""
        return x + self.linear(condition)[:, :, None, None]


class ConvBlock(nn.Module):
    """Pre-activation residual block of two 3×3 convolutions, each shifted by the condition."""

    def __init__(self, inputs: int, outputs: int, condition_size: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv1 = _conv(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
        self.film1 = FiLM(condition_size, outputs)
        self.conv2 = _conv(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False))
        self.film2 = FiLM(condition_size, outputs)
        self.shortcut: nn.Conv2d | None = None
        if inputs != outputs:
            self.shortcut = _conv(nn.Conv2d(inputs, outputs, 1))
            self.film_res = FiLM(condition_size, outputs)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(batch, inputs, frames, bins) to (batch, outputs, frames, bins)."""
        y = self.film1(self.conv1(F.leaky_relu(self.bn1(x), _LEAK)), condition)
        y = self.film2(self.conv2(F.leaky_relu(self.bn2(y), _LEAK)), condition)
        return y + (x if self.shortcut is None else self.film_res(self.shortcut(x), condition))


class EncoderBlock(nn.Module):
    """Two residual blocks, then average pooling."""

    def __init__(self, inputs: int, outputs: int, condition_size: int) -> None:
        super().__init__()
        self.conv_block1 = ConvBlock(inputs, outputs, condition_size)
        self.conv_block2 = ConvBlock(outputs, outputs, condition_size)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the pooled features and, before pooling, the skip connection."""
        skip = self.conv_block2(self.conv_block1(x, condition), condition)
        return F.avg_pool2d(skip, 2), skip


class DecoderBlock(nn.Module):
    """Transposed convolution, concatenation with the skip connection, two residual blocks."""

    def __init__(self, inputs: int, outputs: int, condition_size: int) -> None:
        super().__init__()
        self.conv1 = _conv(nn.ConvTranspose2d(inputs, outputs, 3, stride=2, bias=False))
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv_block2 = ConvBlock(2 * outputs, outputs, condition_size)
        self.conv_block3 = ConvBlock(outputs, outputs, condition_size)

    def forward(self, x: Tensor, skip: Tensor, condition: Tensor) -> Tensor:
        """Doubles the resolution of ``x`` to that of ``skip``."""
        # The transposed convolution makes one row and one column too many; the skip connection
        # has an odd number of bins, which takes up the column.
        x = self.conv1(F.relu(self.bn1(x)))[:, :, :-1]
        x = torch.cat([x, skip], 1)
        return self.conv_block3(self.conv_block2(x, condition), condition)


class UNet(nn.Module):
    """Magnitude to the mask's logits."""

    def __init__(self, widths: Sequence[int], condition_size: int) -> None:
        super().__init__()
        self.levels = len(widths)
        for i, (inputs, outputs) in enumerate(zip((1, *widths), widths, strict=False)):
            self.add_module(f"encoder_block{i + 1}", EncoderBlock(inputs, outputs, condition_size))
        self.conv_block7 = ConvBlock(widths[-1], widths[-1], condition_size)
        up = (widths[-1], *reversed(widths))
        for i in range(self.levels):
            block = DecoderBlock(up[i], up[i + 1], condition_size)
            self.add_module(f"decoder_block{i + 1}", block)
        self.after_conv_block1 = ConvBlock(widths[0], widths[0], condition_size)
        self.after_conv2 = _conv(nn.Conv2d(widths[0], 1, 1))

    def forward(self, magnitude: Tensor, condition: Tensor) -> Tensor:
        """(batch, 1, frames, 513) to the same shape; the last two bins are 0."""
        frames = magnitude.shape[2]
        missing = -frames % 2**self.levels
        x = F.pad(magnitude, (0, -_LEFT_OUT, 0, missing))
        skips = []
        for i in range(self.levels):
            x, skip = self.get_submodule(f"encoder_block{i + 1}")(x, condition)
            skips.append(skip)
        x = self.conv_block7(x, condition)
        for i, skip in enumerate(reversed(skips)):
            x = self.get_submodule(f"decoder_block{i + 1}")(x, skip, condition)
        x = self.after_conv2(self.after_conv_block1(x, condition))
        return F.pad(x[:, :, :frames], (0, _LEFT_OUT))


def _conv(layer: _Layer) -> _Layer:
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer

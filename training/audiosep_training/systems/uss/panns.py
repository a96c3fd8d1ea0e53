"""PANNs' Cnn14 (Kong et al. 2020): what tags and embeds sounds for USS, and finds events in them.

Names follow the released code, so that its checkpoints ("model" in the file) load.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

from audiosep_core.model.checkpoint import CheckpointError, load_weights, read_checkpoint
from audiosep_core.model.fourier_kernels import FourierKernels

SAMPLE_RATE = 32_000
CLASS_COUNT = 527
EMBEDDING_SIZE = 2048
_WINDOW, HOP = 1024, 320
_MELS = 64
_LOWEST_HZ, _HIGHEST_HZ = 50, 14_000
_FLOOR = 1e-10
_LAST_OF_BLOCK = re.compile(r"conv_block\d\.conv2\.weight")
_WIDTHS = (64, 128, 256, 512, 1024, EMBEDDING_SIZE)


class Tagging(NamedTuple):
    """What :class:`Cnn14` says of sounds.

    Attributes:
        embedding: (batch, 2048).
        probabilities: (batch, 527): of each of AudioSet's classes.
    """

    embedding: Tensor
    probabilities: Tensor


class Events(NamedTuple):
    """What :class:`Cnn14DecisionLevelMax` says of sounds.

    Attributes:
        probabilities: (batch, 527): the largest of each class.
        framewise: (batch, frames, 527): at 100 frames a second.
    """

    probabilities: Tensor
    framewise: Tensor


class Cnn14(nn.Module):
    """Tags and embeds.

    Args:
        widths: Channels of the six blocks; the last is the embedding's size.
        classes: What is told apart.
    """

    def __init__(self, widths: Sequence[int] = _WIDTHS, classes: int = CLASS_COUNT) -> None:
        super().__init__()
        self.spectrogram_extractor = _Spectrogram()
        self.logmel_extractor = _LogMel()
        self.bn0 = nn.BatchNorm2d(_MELS)
        for i, (inputs, outputs) in enumerate(zip((1, *widths), widths, strict=False)):
            self.add_module(f"conv_block{i + 1}", _ConvBlock(inputs, outputs))
        self._blocks = len(widths)
        self.fc1 = nn.Linear(widths[-1], widths[-1])
        self.fc_audioset = nn.Linear(widths[-1], classes)

    def forward(self, audio: Tensor) -> Tagging:
        """(batch, samples) float32 at 32 kHz, half a window at least, to tags."""
        x = self._features(audio)
        x = F.dropout(x.amax(2) + x.mean(2), 0.5, self.training)
        x = F.relu(self.fc1(x))
        embedding = F.dropout(x, 0.5, self.training)
        return Tagging(embedding, torch.sigmoid(self.fc_audioset(x)))

    def _features(self, audio: Tensor) -> Tensor:
        """(batch, samples) to (batch, channels, frames / 32), averaged over frequency."""
        x = self.logmel_extractor(self.spectrogram_extractor(audio))
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        for i in range(1, self._blocks + 1):
            x = self.get_submodule(f"conv_block{i}")(x)
            if i < self._blocks:
                x = F.avg_pool2d(x, 2)
            x = F.dropout(x, 0.2, self.training)
        return x.mean(3)


class Cnn14DecisionLevelMax(Cnn14):
    """Detects sound events; weights of its own, named as those of :class:`Cnn14`."""

    def forward(self, audio: Tensor) -> Events:  # type: ignore[override]
        """(batch, samples) float32 at 32 kHz, half a window at least, to events."""
        frames = audio.shape[-1] // HOP + 1
        x = self._features(audio)
        x = F.max_pool1d(x, 3, 1, 1) + F.avg_pool1d(x, 3, 1, 1)
        x = F.dropout(x, 0.5, self.training).transpose(1, 2)
        x = F.dropout(F.relu(self.fc1(x)), 0.5, self.training)
        segments = torch.sigmoid(self.fc_audioset(x))
        framewise = segments.repeat_interleave(2 ** (self._blocks - 1), dim=1)
        # Pooling drops the frames that fill no cell; the last that is known stands for them.
        missing = framewise[:, -1:].expand(-1, frames - framewise.shape[1], -1)
        return Events(segments.amax(1), torch.cat([framewise, missing], 1))


_Net = TypeVar("_Net", bound=Cnn14)


def load_panns(kind: type[_Net], path: Path) -> _Net:
    """PANNs' network with a checkpoint's weights, in evaluation mode.

    Args:
        kind: :class:`Cnn14` or :class:`Cnn14DecisionLevelMax`.
        path: Its released checkpoint.

    Raises:
        CheckpointError: It cannot be read, or holds another network.
    """
    content = read_checkpoint(path)
    weights = content.get("model", content.get("state_dict", content))
    blocks = sorted(name for name in weights if _LAST_OF_BLOCK.fullmatch(name))
    if not blocks or "fc_audioset.bias" not in weights:
        raise CheckpointError(f"{path} is no checkpoint of PANNs; give that of {kind.__name__}")
    widths = tuple(len(weights[name]) for name in blocks)
    net = kind(widths, len(weights["fc_audioset.bias"]))
    load_weights(net, weights)
    return net.eval()


class _Spectrogram(nn.Module):
    """Power spectrogram."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stft = FourierKernels(_WINDOW, inverse=False)
        self.register_buffer("window", torch.hann_window(_WINDOW), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """(batch, samples) to (batch, 1, frames, bins)."""
        spectrum = torch.stft(audio, _WINDOW, HOP, window=self.window, return_complex=True)
        return torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2)[:, None]


class _LogMel(nn.Module):
    """Decibels in mel bands."""

    melW: Tensor  # noqa: N815 - as the checkpoints name it

    def __init__(self) -> None:
        super().__init__()
        bands = mel_filter_bank(
            _WINDOW // 2 + 1,
            _MELS,
            _LOWEST_HZ,
            _HIGHEST_HZ,
            SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        self.register_buffer("melW", torch.from_numpy(bands.astype(np.float32)))

    def forward(self, power: Tensor) -> Tensor:
        """(batch, 1, frames, bins) to (batch, 1, frames, mels)."""
        return 10 * torch.log10((power @ self.melW).clamp_min(_FLOOR))


class _ConvBlock(nn.Module):
    """Two 3×3 convolutions, each with batch norm and rectifier."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frames, bins) to (batch, outputs, frames, bins)."""
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))

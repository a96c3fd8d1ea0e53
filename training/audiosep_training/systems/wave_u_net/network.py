"""Wave-U-Net for speech enhancement (Stoller et al. 2018; Macartney and Weyde 2018).

The released code is TensorFlow's (craigmacartney/Wave-U-Net-For-Speech-Enhancement): its
variables load by name, and the names in the state dict are this project's own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from audiosep_training.systems.base import System, fitted

SAMPLE_RATE = 16_000
#: Samples that the network sees at a time.
WINDOW = 16_384
_DOWN_TAPS, _UP_TAPS = 15, 5
_LEAK = 0.2
#: A source is amplified in training by a factor in this range.
GAINS = (0.7, 1.0)


class WaveUNet(System):
    """A U-Net of one-dimensional convolutions; noise and speech come out.

    Args:
        layers: Halvings: 9 is the paper's best, 12 the released code's default.
        width: Channels that every layer has more than the one before.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, layers: int = 9, width: int = 24) -> None:
        super().__init__()
        if not 1 <= layers < WINDOW.bit_length():
            raise ValueError(f"layers must be in 1…{WINDOW.bit_length() - 1}, not {layers}")
        widths = [width * (i + 1) for i in range(layers + 1)]
        down = zip([1, *widths], widths, strict=False)
        self.down = nn.ModuleList(_conv(i, o, _DOWN_TAPS) for i, o in down)
        up = zip(reversed(widths[:-1]), reversed(widths), strict=False)
        self.up = nn.ModuleList(_conv(skip + below, skip, _UP_TAPS) for skip, below in up)
        self.noise = _conv(1 + width, 1, 1)
        self.speech = _conv(1 + width, 1, 1)

    def forward(self, noisy: Tensor) -> Tensor:
        """(batch, 1, samples), a multiple of 2 ** layers, to (batch, 2, samples).

        The first of two channels is noise, the second speech, both within -1…1.
        """
        x, skips = noisy, []
        for conv in self.down[:-1]:
            x = F.leaky_relu(conv(x), _LEAK)
            skips.append(x)
            x = x[..., ::2]
        x = F.leaky_relu(self.down[-1](x), _LEAK)
        for conv, skip in zip(self.up, reversed(skips), strict=True):
            x = F.leaky_relu(conv(torch.cat([skip, _double(x)], 1)), _LEAK)
        x = torch.cat([noisy, x], 1)
        return torch.tanh(torch.cat([self.noise(x), self.speech(x)], 1))

    def loss(self, noise: Tensor, speech: Tensor) -> Tensor:
        """Mean squared error of both sources, whose sum is heard; they are (batch, WINDOW)."""
        sources = torch.stack([noise, speech], 1)
        return F.mse_loss(self(sources.sum(1, keepdim=True)), sources)

    def _separate(self, mixture: Tensor, condition: Tensor | None) -> Tensor:
        samples = mixture.shape[-1]
        mixture = fitted(mixture, max(samples, WINDOW))
        speech = torch.empty_like(mixture)
        # The last window ends where the sound ends, and overlaps the one before it.
        last = mixture.shape[-1] - WINDOW
        for start in (*range(0, last, WINDOW), last):
            window = slice(start, start + WINDOW)
            speech[:, window] = self(mixture[:, None, window])[:, 1]
        return speech[:, :samples]

    def tensorflow_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every variable of the released code by its name; kernels are (taps, in, out)."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, conv in self._variables():
            outputs, inputs, taps = conv.weight.shape
            shapes[f"{name}/kernel:0"] = (taps, inputs, outputs)
            shapes[f"{name}/bias:0"] = (outputs,)
        return shapes

    def load_tensorflow(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Take over the variables of a checkpoint of the released code.

        Args:
            arrays: By the names of :meth:`tensorflow_shapes`, with or without their ":0", as
                checkpoints have them; further ones, such as an optimiser's, are ignored.

        Raises:
            ValueError: One is missing or has another shape; nothing is taken over.
        """
        found = {}
        for name, shape in self.tensorflow_shapes().items():
            array = arrays.get(name, arrays.get(name.removesuffix(":0")))
            if array is None:
                raise ValueError(f"{name} is missing; is it a Wave-U-Net of as many layers?")
            if tuple(array.shape) != shape:
                raise ValueError(f"{name} has the shape {tuple(array.shape)}, not {shape}")
            found[name] = torch.from_numpy(np.array(array, np.float32))
        with torch.no_grad():
            for name, conv in self._variables():
                assert conv.bias is not None
                conv.weight.copy_(found[f"{name}/kernel:0"].permute(2, 1, 0))
                conv.bias.copy_(found[f"{name}/bias:0"])

    def _variables(self) -> list[tuple[str, nn.Conv1d]]:
        """All convolutions in the order that TensorFlow numbers them in."""
        convolutions = [*self.down, *self.up, self.noise, self.speech]
        return [
            (f"separator/conv1d{f'_{number}' if number else ''}", conv)
            for number, conv in enumerate(convolutions)
            if isinstance(conv, nn.Conv1d)
        ]


def _conv(inputs: int, outputs: int, taps: int) -> nn.Conv1d:
    layer = nn.Conv1d(inputs, outputs, taps, padding=taps // 2)
    nn.init.xavier_uniform_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _double(x: Tensor) -> Tensor:
    """(..., samples) to (..., 2 · samples): the mean in every gap; the last sample repeats."""
    following = torch.cat([x[..., 1:], x[..., -1:]], -1)
    return torch.stack([x, (x + following) / 2], -1).flatten(-2)

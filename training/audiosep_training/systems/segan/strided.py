"""Convolutions with a stride, and their transposes, as convolutions of stride 1 over phases.

PyTorch's own give wrong results on CPUs, differently in each run: oneDNN's backward pass of
long one-dimensional kernels with a stride, which the transposed convolution is, too, fails with
more than one thread (seen with PyTorch 2.13: errors of 30 % at 31 taps).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class StridedConv1d(nn.Conv1d):
    """``torch.nn.Conv1d`` without padding."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, samples) to (batch, outputs, (samples - taps) // stride + 1)."""
        stride, taps = self.stride[0], self.kernel_size[0]
        length = (x.shape[-1] - taps) // stride + 1
        # Neighbouring samples become channels: as many convolutions as there are phases.
        phases = F.pad(x, (0, -x.shape[-1] % stride)).unflatten(2, (-1, stride))
        kernel = F.pad(self.weight, (0, -taps % stride)).unflatten(2, (-1, stride))
        phases, kernel = (part.transpose(2, 3).flatten(1, 2) for part in (phases, kernel))
        return F.conv1d(phases, kernel, self.bias)[..., :length]


class StridedConvTranspose1d(nn.ConvTranspose1d):
    """``torch.nn.ConvTranspose1d`` whose output is cut to ``samples * stride``.

    Its padding is what is cut off in front.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(batch, inputs, samples) to (batch, outputs, samples * stride)."""
        stride, taps = self.stride[0], self.kernel_size[0]
        kernel = F.pad(self.weight, (0, -taps % stride)).unflatten(2, (-1, stride))
        reach = kernel.shape[2] - 1
        # (inputs, outputs, taps of a phase, phases) to (outputs · phases, inputs, taps).
        kernel = kernel.permute(1, 3, 0, 2).flatten(0, 1).flip(2)
        phases = F.conv1d(F.pad(x, (reach, reach)), kernel)
        y = phases.unflatten(1, (-1, stride)).transpose(2, 3).flatten(2)
        y = y[..., self.padding[0] :][..., : x.shape[-1] * stride]
        return y if self.bias is None else y + self.bias[:, None]

"""The Fourier kernels that released checkpoints carry."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FourierKernels(nn.Module):
    """The fixed Fourier kernels that the released checkpoint carries.

    The network computes its STFT with an FFT and holds no kernels; they are made when a
    state dict is written and checked for their shape, which tells ``n_fft``, when one is read.
    """

    def __init__(self, n_fft: int, inverse: bool) -> None:
        super().__init__()
        self.length = n_fft
        self.inverse = inverse

    def _kernels(self) -> dict[str, Tensor]:
        n = self.length
        rows = n if self.inverse else n // 2 + 1
        hann = torch.hann_window(n, dtype=torch.float64)
        sign = 1 if self.inverse else -1
        phase = torch.outer(torch.arange(rows), torch.arange(n)) % n * (sign * 2 * torch.pi / n)
        if not self.inverse:
            kernels = {
                "conv_real.weight": phase.cos() * hann,
                "conv_imag.weight": phase.sin() * hann,
            }
            return {name: kernel[:, None].float() for name, kernel in kernels.items()}
        hann_column = hann[:, None] / n
        return {
            "ola_window": hann.square().float(),
            "conv_real.weight": (phase.cos() * hann_column)[..., None].float(),
            "conv_imag.weight": (phase.sin() * hann_column)[..., None].float(),
        }

    def _save_to_state_dict(
        self, destination: dict[str, Tensor], prefix: str, keep_vars: bool
    ) -> None:
        destination.update({prefix + name: kernel for name, kernel in self._kernels().items()})

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Tensor],
        prefix: str,
        local_metadata: dict[str, object],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        n = self.length
        bins = n // 2 + 1
        kernel = (n, n, 1) if self.inverse else (bins, 1, n)
        for name in ("ola_window", "conv_real.weight", "conv_imag.weight"):
            expected = (n,) if name == "ola_window" else kernel
            found = state_dict.get(prefix + name)
            if found is not None and tuple(found.shape) != expected:
                error_msgs.append(
                    f"size mismatch for {prefix}{name}: {tuple(found.shape)} in the checkpoint, "
                    f"{expected} for a window of {n} samples"
                )

"""The separation network in PyTorch: STFT → ResUNet with FiLM → mask → ISTFT.

Names of modules follow the released checkpoint, so that its state dict loads by name.
Nothing on the runtime path imports this module; it is for training and export.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiosep_core.model.config import (
    FREQUENCY_POOLINGS,
    MAGNITUDE_FLOOR,
    PADDING,
    TIME_POOLINGS,
    NetworkConfig,
    SeparatorConfig,
    get_config,
)
from audiosep_core.model.fourier_kernels import FourierKernels
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.model.streaming_network import LEAK, StreamingNetwork

_POOLINGS = [(2, 2)] * TIME_POOLINGS + [(1, 2)] * (FREQUENCY_POOLINGS - TIME_POOLINGS)
#: Least length that a rotation is divided by.
ROTATION_FLOOR = 1e-10
_BATCH_NORM_MOMENTUM = 0.01


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, momentum=_BATCH_NORM_MOMENTUM)


def _activate(x: Tensor, norm: nn.BatchNorm2d, beta: Tensor) -> Tensor:
    """Batch norm, FiLM shift, leaky rectifier: what precedes every convolution."""
    return F.leaky_relu(norm(x) + beta, LEAK)


class ConvBlock(nn.Module):
    """Pre-activation residual block of two 3×3 convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn1 = _batch_norm(inputs)
        self.bn2 = _batch_norm(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor, film: dict[str, Tensor], path: str) -> Tensor:
        """(batch, inputs, frames, bins) to (batch, outputs, frames, bins)."""
        y = self.conv1(_activate(x, self.bn1, film[f"{path}->beta1"]))
        y = self.conv2(_activate(y, self.bn2, film[f"{path}->beta2"]))
        return y + (x if self.shortcut is None else self.shortcut(x))


class EncoderBlock(nn.Module):
    """A residual block, then average pooling."""

    def __init__(self, inputs: int, outputs: int, pooling: tuple[int, int]) -> None:
        super().__init__()
        self.conv_block1 = ConvBlock(inputs, outputs)
        self.pooling = pooling

    def forward(self, x: Tensor, film: dict[str, Tensor], path: str) -> tuple[Tensor, Tensor]:
        """Returns the pooled features and, before pooling, the skip connection."""
        skip = self.conv_block1(x, film, f"{path}->conv_block1")
        return F.avg_pool2d(skip, self.pooling), skip


class DecoderBlock(nn.Module):
    """Transposed convolution, concatenation with the skip connection, residual block."""

    def __init__(self, inputs: int, outputs: int, pooling: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(inputs, outputs, pooling, stride=pooling, bias=False)
        self.bn1 = _batch_norm(inputs)
        self.conv_block2 = ConvBlock(2 * outputs, outputs)
        # Present in the released file, unused in its forward pass; kept so that names match.
        self.bn2 = _batch_norm(inputs)

    def forward(self, x: Tensor, skip: Tensor, film: dict[str, Tensor], path: str) -> Tensor:
        """Doubles the resolution of ``x`` to that of ``skip``."""
        x = self.conv1(_activate(x, self.bn1, film[f"{path}->beta1"]))
        return self.conv_block2(torch.cat([x, skip], 1), film, f"{path}->conv_block2")


class ResUNet(nn.Module):
    """Magnitude frames to the three raw mask channels (the released ``ResUNet30_Base``)."""

    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stft = FourierKernels(config.n_fft, inverse=False)
        self.istft = FourierKernels(config.n_fft, inverse=True)
        self.bn0 = nn.BatchNorm2d(config.bins, momentum=_BATCH_NORM_MOMENTUM)
        self.pre_conv = nn.Conv2d(config.bands, widths[0], 1)
        for i, (inputs, outputs) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            self.add_module(f"encoder_block{i + 1}", EncoderBlock(inputs, outputs, _POOLINGS[i]))
        self.conv_block7a = EncoderBlock(widths[-1], widths[-1], (1, 1))
        up = (widths[-1], *reversed(widths))
        for i, pooling in enumerate(reversed(_POOLINGS)):
            self.add_module(f"decoder_block{i + 1}", DecoderBlock(up[i], up[i + 1], pooling))
        self.after_conv = nn.Conv2d(widths[0], 3 * config.bands, 1)

    def forward(self, magnitude: Tensor, film: dict[str, Tensor]) -> Tensor:
        """(batch, 1, frames, bins), any number of frames, to (batch, 3, frames, bins).

        Frames up to the next multiple of 32 are zeros after the first batch norm, which in
        training counts those of the signal alone, as in the released code. No magnitude can
        stand for such zeros: in evaluation, a magnitude of :data:`PADDING` does.
        """
        frames = magnitude.shape[2]
        x = compress(magnitude.clamp_min(0), self.config.magnitude_scale)
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        x = x * (magnitude >= 0)
        x = F.pad(x, (0, 0, 0, self.config.padded_frames(frames) - frames))
        x = fold_bands(x[..., :-1], self.config.bands)
        x = self.pre_conv(x)
        skips = []
        for i in range(len(_POOLINGS)):
            path = f"encoder_block{i + 1}"
            x, skip = getattr(self, path)(x, film, path)
            skips.append(skip)
        x, _ = self.conv_block7a(x, film, "conv_block7a")
        for i, skip in enumerate(reversed(skips)):
            path = f"decoder_block{i + 1}"
            x = getattr(self, path)(x, skip, film, path)
        x = unfold_bands(self.after_conv(x), self.config.bands)
        return F.pad(x[:, :, :frames], (0, 1))


def compress(magnitude: Tensor, scale: str) -> Tensor:
    """The magnitude as the network sees it (``SeparatorConfig.magnitude_scale``)."""
    return torch.log(magnitude + 1e-3) if scale == "log" else magnitude


def fold_bands(x: Tensor, bands: int) -> Tensor:
    """(batch, channels, frames, bins) to (batch, channels · bands, frames, bins / bands)."""
    if bands == 1:
        return x
    batch, channels, frames, bins = x.shape
    x = x.reshape(batch, channels, frames, bins // bands, bands)
    return x.permute(0, 1, 4, 2, 3).reshape(batch, channels * bands, frames, bins // bands)


def unfold_bands(x: Tensor, bands: int) -> Tensor:
    """The inverse of :func:`fold_bands`."""
    if bands == 1:
        return x
    batch, channels, frames, bins = x.shape
    x = x.reshape(batch, channels // bands, bands, frames, bins)
    return x.permute(0, 1, 3, 4, 2).reshape(batch, channels // bands, frames, bins * bands)


def film_sites(base: ResUNet) -> dict[str, int]:
    """Where FiLM shifts features: path of the batch norm (``->`` between levels) to channels.

    The released model has one shift for every batch norm inside the encoder, centre and
    decoder blocks, ``decoder_blockN->beta2`` included, which nothing reads.
    """
    sites = {}
    for name, module in base.named_modules():
        *parents, leaf = name.split(".")
        if leaf in ("bn1", "bn2") and isinstance(module, nn.BatchNorm2d):
            sites["->".join([*parents, leaf.replace("bn", "beta")])] = module.num_features
    return sites


class FiLM(nn.Module):
    """One linear layer per FiLM site: condition to a shift for each channel (paper, eq. 4)."""

    def __init__(self, sites: dict[str, int], condition_size: int) -> None:
        super().__init__()
        self.sites = sites
        for path, channels in sites.items():
            self.add_module(path, nn.Linear(condition_size, channels))

    def forward(self, condition: Tensor) -> dict[str, Tensor]:
        """(batch, condition_size) to {site: (batch, channels, 1, 1)}."""
        return {
            path: self.get_submodule(path)(condition)[:, :, None, None]
            for path in self.sites
            if not is_unused_site(path)
        }


def freeze_unused(net: SeparatorNetwork) -> None:
    """Take what the released forward pass ignores out of training.

    Processes that train together would wait for its gradients.
    """
    for path in net.film.sites:
        if is_unused_site(path):
            block, _ = path.split("->")
            net.film.get_submodule(path).requires_grad_(False)
            net.base.get_submodule(f"{block}.bn2").requires_grad_(False)


def is_unused_site(path: str) -> bool:
    """Whether the released forward pass ignores this FiLM site and its batch norm."""
    return path.startswith("decoder_block") and path.endswith("->beta2") and path.count("->") == 1


class SeparatorNetwork(nn.Module):
    """The whole model: a mixture and a condition in, the target's waveform out.

    Submodules are named as in the released checkpoint (without its ``ss_model.`` prefix).
    """

    window: Tensor

    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__()
        self.config = config
        self.base = ResUNet(config)
        condition_size = config.condition_size
        self.projection: nn.Sequential | None = None
        if config.projection:
            self.projection = nn.Sequential(
                nn.Linear(condition_size, config.projection),
                nn.GELU(),
                nn.Linear(config.projection, config.projection),
            )
            condition_size = config.projection
        self.film = FiLM(film_sites(self.base), condition_size)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.apply(initialise)

    def film_vectors(self, condition: Tensor) -> dict[str, Tensor]:
        """Everything that depends on the query alone."""
        if self.projection is not None:
            condition = self.projection(condition)
        return self.film(condition)

    def mask(self, magnitude: Tensor, condition: Tensor) -> Tensor:
        """Magnitude frames to the mask that multiplies the mixture's spectrum.

        Args:
            magnitude: (batch, 1, frames, bins); in evaluation -1 may stand in frames beyond the
                end of the signal, as in what the exported graph takes.
            condition: (batch, condition_size).

        Returns:
            (batch, 3, frames, bins): magnitude mask in 0…1, cosine and sine of the phase
            rotation.
        """
        return activate_mask(self.base(magnitude, self.film_vectors(condition)))

    def spectrum(self, mixture: Tensor) -> Tensor:
        """(batch, samples) to complex (batch, frames, bins)."""
        return torch.stft(
            mixture,
            self.config.n_fft,
            self.config.hop_length,
            window=self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        ).transpose(1, 2)

    def forward(self, mixture: Tensor, condition: Tensor) -> Tensor:
        """Separate.

        Args:
            mixture: (batch, 1, samples) at the model's rate.
            condition: (batch, condition_size) query embedding.

        Returns:
            (batch, 1, samples): the target.
        """
        spectrum = self.spectrum(mixture[:, 0])
        mask = self.mask(_magnitude(spectrum), condition)
        return self._masked(spectrum, mask, mixture.shape[-1])

    def render(self, mixture: Tensor, estimate: Callable[[Tensor], Tensor]) -> Tensor:
        """Mask a mixture with what an exported graph makes of its magnitude.

        Args:
            mixture: (batch, 1, samples) at the model's rate.
            estimate: (batch, 1, frames, bins), filled up with :data:`PADDING` to a multiple of
                ``frame_multiple``, to (batch, 3, frames, bins).

        Returns:
            (batch, 1, samples).
        """
        spectrum = self.spectrum(mixture[:, 0])
        frames = spectrum.shape[1]
        missing = self.config.padded_frames(frames) - frames
        mask = estimate(F.pad(_magnitude(spectrum), (0, 0, 0, missing), value=PADDING))
        return self._masked(spectrum, mask[:, :, :frames], mixture.shape[-1])

    def _masked(self, spectrum: Tensor, mask: Tensor, samples: int) -> Tensor:
        """(batch, frames, bins) and (batch, 3, frames, bins) to (batch, 1, samples)."""
        mask = mask.to(spectrum.real.dtype)
        # The spectrum's own phase times the rotation equals X·M: no angle is computed.
        target = spectrum * (mask[:, 0] * torch.complex(mask[:, 1], mask[:, 2]))
        waveform = torch.istft(
            target.transpose(1, 2),
            self.config.n_fft,
            self.config.hop_length,
            window=self.window,
            center=True,
            length=samples,
        )
        return waveform[:, None]


def _magnitude(spectrum: Tensor) -> Tensor:
    """(batch, frames, bins) complex to (batch, 1, frames, bins)."""
    return spectrum.abs().clamp_min(MAGNITUDE_FLOOR)[:, None]


def activate_mask(raw: Tensor) -> Tensor:
    """Raw channels to magnitude mask, cosine and sine (paper, eq. 5; released code)."""
    rotation = torch.tanh(raw[:, 1:])
    length = rotation.square().sum(1, keepdim=True).clamp_min(ROTATION_FLOOR**2).sqrt()
    return torch.cat([torch.sigmoid(raw[:, :1]), rotation / length], 1)


def initialise(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases, as the reference."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@overload
def build_network(config: SeparatorConfig) -> SeparatorNetwork: ...
@overload
def build_network(config: StreamingConfig) -> StreamingNetwork: ...
@overload
def build_network(config: str | NetworkConfig) -> SeparatorNetwork | StreamingNetwork: ...
def build_network(config: str | NetworkConfig) -> SeparatorNetwork | StreamingNetwork:
    """A network with fresh weights, of the form that its configuration has.

    Args:
        config: A configuration or the name of one ("audiosep-base", "mini", ...).

    Raises:
        ValueError: No configuration has that name.
    """
    chosen = get_config(config) if isinstance(config, str) else config
    if isinstance(chosen, StreamingConfig):
        return StreamingNetwork(chosen)
    return SeparatorNetwork(chosen)

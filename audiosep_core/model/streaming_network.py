"""The streaming separation network in PyTorch: a U-Net with FiLM that looks back, not around.

AudioSep's residual U-Net (Liu et al. 2023, section III-C), with another time structure: every
convolution sees its own frame and frames before it, time is pooled over few frames, and the long
past lies in a gated recurrent unit at the deepest level. A look-ahead is a delay of the output:
skip connections are held back by it. So the same weights give the same masks whether a whole file
or one step of frames goes in, as long as the memory is handed on.

Nothing on the runtime path imports this module; it is for training and export.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audiosep_core.model.streaming_config import StreamingConfig

_BATCH_NORM_MOMENTUM = 0.02
#: Slope of every leaky rectifier below zero, in either form of network.
LEAK = 0.01
#: What the network sees is the logarithm of the normalised magnitude above this floor.
FLOOR = 1e-3
#: Least square of the length that a rotation is divided by.
ROTATION_POWER_FLOOR = 1e-20


class Memory:
    """What a network keeps from one call to the next: named tensors, batch first.

    A part that finds nothing under its name starts from silence, which is all zeros.
    """

    def __init__(self, before: dict[str, Tensor] | None = None) -> None:
        self._before = before or {}
        self.after: dict[str, Tensor] = {}

    def recall(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """What was kept under a name, or zeros."""
        kept = self._before.get(name)
        return like.new_zeros(shape) if kept is None else kept.to(like.dtype)

    def extend(self, name: str, x: Tensor, frames: int) -> Tensor:
        """(batch, channels, n, positions) with the ``frames`` frames that came before in front.

        The last ``frames`` frames of the result are kept for the next call.
        """
        past = self._before.get(name)
        # Padding keeps the layout in memory, which joining with fresh zeros would not.
        extended = F.pad(x, (0, 0, frames, 0)) if past is None else torch.cat([past, x], 2)
        self.after[name] = extended[:, :, -frames:]
        return extended


class Condition(nn.Module):
    """From a query embedding to a scale and a shift for every batch norm (FiLM).

    One linear layer for all sites, so that a step of the network does one product, not forty.
    """

    def __init__(self, config: StreamingConfig) -> None:
        super().__init__()
        width = config.projection
        self.project = nn.Sequential(
            nn.Linear(config.condition_size, width), nn.GELU(), nn.Linear(width, width), nn.GELU()
        )
        self.sizes: list[int] = []
        self._width = width
        self.film: nn.Linear

    def site(self, channels: int) -> int:
        """Register a site; returns its number."""
        self.sizes.append(channels)
        return len(self.sizes) - 1

    def finish(self) -> None:
        """Make the layer, once all sites are known."""
        self.film = nn.Linear(self._width, 2 * sum(self.sizes))
        nn.init.zeros_(self.film.bias)
        nn.init.normal_(self.film.weight, std=0.02)

    def forward(self, condition: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(batch, condition_size) to a (scale, shift) for every site, (batch, channels, 1, 1)."""
        vectors = self.film(self.project(condition))[:, :, None, None]
        parts = vectors.split([size for size in self.sizes for _ in range(2)], 1)
        return [(1 + parts[i], parts[i + 1]) for i in range(0, len(parts), 2)]


FilmParameters = list[tuple[Tensor, Tensor]]


class Site(nn.Module):
    """Batch norm, FiLM, leaky rectifier: what precedes every convolution."""

    def __init__(self, channels: int, condition: Condition) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, momentum=_BATCH_NORM_MOMENTUM)
        self.number = condition.site(channels)

    def forward(self, x: Tensor, film: FilmParameters) -> Tensor:
        """Same shape as ``x``."""
        scale, shift = film[self.number]
        return F.leaky_relu(torch.addcmul(shift, self.norm(x), scale), LEAK)


class Convolution(nn.Module):
    """A convolution over ``taps`` frames, its own and those before, and three positions."""

    def __init__(self, inputs: int, outputs: int, taps: int) -> None:
        super().__init__()
        self.taps = taps
        self.conv = nn.Conv2d(inputs, outputs, (taps, 3), padding=(0, 1), bias=False)

    def forward(self, x: Tensor, memory: Memory, name: str) -> Tensor:
        """(batch, inputs, frames, positions) to (batch, outputs, frames, positions)."""
        if self.taps > 1:
            x = memory.extend(name, x, self.taps - 1)
        return self.conv(x)


class ResidualBlock(nn.Module):
    """Pre-activation residual block of two convolutions."""

    def __init__(
        self, inputs: int, outputs: int, taps: tuple[int, int], condition: Condition
    ) -> None:
        super().__init__()
        self.site1 = Site(inputs, condition)
        self.conv1 = Convolution(inputs, outputs, taps[0])
        self.site2 = Site(outputs, condition)
        self.conv2 = Convolution(outputs, outputs, taps[1])
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor, film: FilmParameters, memory: Memory, name: str) -> Tensor:
        """(batch, inputs, frames, positions) to (batch, outputs, frames, positions)."""
        y = self.conv1(self.site1(x, film), memory, f"{name}.1")
        y = self.conv2(self.site2(y, film), memory, f"{name}.2")
        return y + (x if self.shortcut is None else self.shortcut(x))


class Past(nn.Module):
    """The long past: a gated recurrent unit over all positions of a frame.

    Channels are squeezed first, so that the state has the size of the configuration.
    """

    def __init__(self, channels: int, positions: int, size: int, condition: Condition) -> None:
        super().__init__()
        self.squeezed = size // positions
        self.site = Site(channels, condition)
        self.enter = nn.Conv2d(channels, self.squeezed, 1)
        self.cell = nn.GRU(size, size, batch_first=True)
        self.leave = nn.Conv2d(self.squeezed, channels, 1)

    def forward(self, x: Tensor, film: FilmParameters, memory: Memory) -> Tensor:
        """(batch, channels, frames, positions), same shape out."""
        entered = self.enter(self.site(x, film)).transpose(1, 2).flatten(2)
        before = memory.recall("past", (x.shape[0], self.cell.hidden_size), entered)
        y, after = self.cell(entered, before[None].contiguous())
        memory.after["past"] = after[0]
        return x + self.leave(y.unflatten(2, (self.squeezed, -1)).transpose(1, 2))


class DecoderLevel(nn.Module):
    """Decoder level: up to the resolution of the skip connection, joined with it, a block."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        pooling: tuple[int, int],
        taps: tuple[int, int],
        delay: int,
        condition: Condition,
    ) -> None:
        super().__init__()
        self.delay = delay
        self.site = Site(inputs, condition)
        self.up = nn.ConvTranspose2d(inputs, outputs, pooling, stride=pooling, bias=False)
        self.block = ResidualBlock(2 * outputs, outputs, taps, condition)

    def forward(
        self, x: Tensor, skip: Tensor, film: FilmParameters, memory: Memory, name: str
    ) -> Tensor:
        """Brings ``x`` to the shape of ``skip``."""
        if self.delay:
            skip = memory.extend(f"{name}.skip", skip, self.delay)[:, :, : -self.delay]
        up = self.up(self.site(x, film))
        return self.block(torch.cat([up, skip], 1), film, memory, name)


class StreamingNetwork(nn.Module):
    """Normalised magnitude frames and a condition in, masks out."""

    def __init__(self, config: StreamingConfig) -> None:
        super().__init__()
        self.config = config
        widths, taps, count = config.widths, config.time_taps, len(config.widths)
        self.condition = Condition(config)
        self.norm = nn.BatchNorm2d(config.bins, momentum=_BATCH_NORM_MOMENTUM)
        self.enter = nn.ModuleList(
            nn.Conv2d(width, widths[0], 1, bias=False) for _, width in config.band_groups
        )
        self.place = nn.Parameter(torch.zeros(1, widths[0], 1, config.positions))
        inputs = (widths[0], *widths[:-1])
        self.poolings = [(frames, 2 if i else 1) for i, frames in enumerate(config.time_pooling)]
        self.down = nn.ModuleList(
            ResidualBlock(inputs[i], widths[i], taps, self.condition) for i in range(count)
        )
        deepest = config.positions // 2 ** (count - 1)
        self.past = Past(widths[-1], deepest, config.recurrent, self.condition)
        self.up = nn.ModuleList(
            DecoderLevel(
                widths[i + 1],
                widths[i],
                self.poolings[i + 1],
                taps,
                config.skip_delays[i],
                self.condition,
            )
            for i in reversed(range(count - 1))
        )
        self.last = Site(widths[0], self.condition)
        channels = 3 if config.phase else 1
        self.leave = nn.ModuleList(
            nn.Conv2d(widths[0], channels * width, 1) for _, width in config.band_groups
        )
        self.condition.finish()
        self.apply(_initialise)

    def forward(self, magnitude: Tensor, condition: Tensor, memory: Memory | None = None) -> Tensor:
        """The mask of each frame, late by the look-ahead.

        Args:
            magnitude: (batch, 1, frames, bins), divided by the running level; frames a multiple
                of ``step_frames``.
            condition: (batch, condition_size) query embedding.
            memory: Of the call before; its ``after`` is filled for the next one.

        Returns:
            (batch, 3, frames, bins): magnitude mask in 0…1, cosine and sine of the phase
            rotation. Row ``t`` belongs to the frame ``look_ahead`` before frame ``t``.
        """
        memory = Memory() if memory is None else memory
        film = self.condition(condition)
        x = torch.log(magnitude + FLOOR)
        x = self.norm(x.transpose(1, 3)).transpose(1, 3)
        x = torch.cat(
            [layer(part) for layer, part in zip(self.enter, self._folded(x), strict=True)], 3
        )
        x = x + self.place
        skips = []
        for i, block in enumerate(self.down):
            if i:
                x = F.avg_pool2d(x, self.poolings[i])
            x = block(x, film, memory, f"down{i}")
            skips.append(x)
        x = self.past(x, film, memory)
        for i, level in enumerate(self.up):
            number = len(self.up) - 1 - i
            x = level(x, skips[number], film, memory, f"up{number}")
        return self._mask(self.last(x, film))

    def _folded(self, x: Tensor) -> Iterator[Tensor]:
        """The bins of each position as channels: (batch, bins of one, frames, positions)."""
        groups = self.config.band_groups
        parts = x.split([count * width for count, width in groups], 3)
        for part, (count, width) in zip(parts, groups, strict=True):
            yield part.unflatten(3, (count, width))[:, 0].permute(0, 3, 1, 2)

    def _mask(self, x: Tensor) -> Tensor:
        parts = []
        channels = 3 if self.config.phase else 1
        groups = x.split([count for count, _ in self.config.band_groups], 3)
        for layer, part, (_, width) in zip(
            self.leave, groups, self.config.band_groups, strict=True
        ):
            raw = layer(part)
            batch, _, frames, count = raw.shape
            raw = raw.reshape(batch, channels, width, frames, count).permute(0, 1, 3, 4, 2)
            parts.append(raw.reshape(batch, channels, frames, count * width))
        return activate(torch.cat(parts, 3).float())


def activate(raw: Tensor) -> Tensor:
    """Raw channels to magnitude mask, cosine and sine (AudioSep, eq. 5)."""
    magnitude = torch.sigmoid(raw[:, :1])
    if raw.shape[1] == 1:
        return torch.cat([magnitude, torch.ones_like(magnitude), torch.zeros_like(magnitude)], 1)
    # Around no rotation, so that an untrained network leaves the phase as it is.
    real, imaginary = 1 + raw[:, 1:2], raw[:, 2:3]
    length = (real.square() + imaginary.square()).clamp_min(ROTATION_POWER_FLOOR).sqrt()
    return torch.cat([magnitude, real / length, imaginary / length], 1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, a=LEAK, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)

"""USS' separators (Kong et al. 2023): AudioSep's network, asked by what PANNs make of a sound.

USS-ResUNet30 is AudioSep's with another condition; its names are those of the released code,
whose checkpoints hold them with the prefix "ss_model.". The network of USS-ResUNet60 was never
released: :class:`UssResUNet60` is this project's own reconstruction from the paper's description
and the number in its name, and nothing can tell whether the original is the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from audiosep_core.model import network as audiosep
from audiosep_core.model.config import SeparatorConfig
from audiosep_training.systems.base import System, fitted
from audiosep_training.systems.uss.panns import CLASS_COUNT, EMBEDDING_SIZE, SAMPLE_RATE

#: What the separator is asked by, and how many values that has: PANNs' embedding of a sound
#: ("emb" in the released code), or its probabilities of AudioSet's classes ("at_soft").
CONDITIONS = {"embedding": EMBEDDING_SIZE, "probabilities": CLASS_COUNT}


class UssResUNet30(audiosep.SeparatorNetwork, System):
    """The released separator.

    Args:
        condition: One of :data:`CONDITIONS`.
        widths: Channels of the six levels.
    """

    label = "uss-resunet30"
    sample_rate = SAMPLE_RATE

    def __init__(self, condition: str = "embedding", widths: Sequence[int] | None = None) -> None:
        if condition not in CONDITIONS:
            raise ValueError(
                f"USS knows no condition {condition!r}; take one of {', '.join(CONDITIONS)}"
            )
        released = SeparatorConfig()
        config = dataclasses.replace(
            released,
            name=self.label,
            condition_size=CONDITIONS[condition],
            widths=released.widths if widths is None else tuple(widths),
        )
        super().__init__(config)
        self.condition = condition
        self.condition_size = config.condition_size

    def loss(self, mixture: Tensor, target: Tensor, condition: Tensor) -> Tensor:
        """Mean absolute error of the waveform; sounds are (batch, samples)."""
        return F.l1_loss(self(mixture[:, None], condition)[:, 0], target)

    def _separate(self, mixture: Tensor, condition: Tensor | None) -> Tensor:
        samples = mixture.shape[-1]
        # Shorter than a window there is nothing to reflect.
        mixture = fitted(mixture, max(samples, self.config.n_fft))
        return self(mixture[:, None], condition)[:, 0, :samples]


class UssResUNet60(UssResUNet30):
    """Two residual blocks where USS-ResUNet30 has one: this project's reconstruction.

    Sixty convolutions: 1 before, 6 × 4 down, 4 in the centre, 6 × 5 up (one of five transposed),
    1 after.
    """

    label = "uss-resunet60"

    def __init__(self, condition: str = "embedding", widths: Sequence[int] | None = None) -> None:
        super().__init__(condition, widths)
        self.base = _ResUNet60(self.config)
        self.film = audiosep.FiLM(audiosep.film_sites(self.base), self.condition_size)
        self.apply(audiosep.initialise)


class _EncoderBlock(audiosep.EncoderBlock):
    def __init__(self, inputs: int, outputs: int, pooling: tuple[int, int]) -> None:
        super().__init__(inputs, outputs, pooling)
        self.conv_block2 = audiosep.ConvBlock(outputs, outputs)

    def forward(self, x: Tensor, film: dict[str, Tensor], path: str) -> tuple[Tensor, Tensor]:
        """As its parent's, of two residual blocks."""
        x = self.conv_block1(x, film, f"{path}->conv_block1")
        skip = self.conv_block2(x, film, f"{path}->conv_block2")
        return F.avg_pool2d(skip, self.pooling), skip


class _DecoderBlock(audiosep.DecoderBlock):
    def __init__(self, inputs: int, outputs: int, pooling: tuple[int, int]) -> None:
        super().__init__(inputs, outputs, pooling)
        self.conv_block3 = audiosep.ConvBlock(outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor, film: dict[str, Tensor], path: str) -> Tensor:
        """As its parent's, of two residual blocks."""
        x = super().forward(x, skip, film, path)
        return self.conv_block3(x, film, f"{path}->conv_block3")


class _ResUNet60(audiosep.ResUNet):
    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__(config)
        for name, block in list(self.named_children()):
            if isinstance(block, audiosep.EncoderBlock):
                first = block.conv_block1.conv1
                twice = _EncoderBlock(first.in_channels, first.out_channels, block.pooling)
                self.add_module(name, twice)
            elif isinstance(block, audiosep.DecoderBlock):
                up = block.conv1
                pooling = (up.stride[0], up.stride[1])
                self.add_module(name, _DecoderBlock(up.in_channels, up.out_channels, pooling))

"""Descriptions of separation networks, shared by training, export and the runtime."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from audiosep_core.model.streaming_config import FORM, LIVE, MINI, StreamingConfig
from audiosep_core.plain import from_plain

#: Halvings along time: five (2, 2) poolings, then one (1, 2) pooling.
TIME_POOLINGS = 5
#: Halvings along frequency.
FREQUENCY_POOLINGS = 6
#: Magnitude that marks a frame beyond the end of the signal.
PADDING = -1.0
#: Smallest magnitude the network meets: the reference floors the power at 1e-10.
MAGNITUDE_FLOOR = 1e-5
#: Fields as bundles and checkpoints of version 0.1 have them.
_FORMER_NAMES = {"window": "n_fft", "hop": "hop_length"}


@dataclasses.dataclass(frozen=True)
class SeparatorConfig:
    """Shape of a separation network and of the STFT it works on.

    The defaults are the released AudioSep model (Liu et al. 2023, section III-C and the
    authors' ``ResUNet30``).

    Attributes:
        name: Name of the model, as users write it after ``--model``.
        sample_rate: Rate in Hz that the network was trained at.
        n_fft: Length of the FFT and of its Hann window, in samples.
        hop_length: Distance between STFT frames, in samples.
        widths: Channels of the six encoder blocks.
        condition_size: Length of a query embedding.
        magnitude_scale: What the network sees: the magnitude ("linear", the reference) or
            its natural logarithm above a floor ("log"), which trains faster.
        bands: Neighbouring frequency bins folded into one position with this many
            channels; 1 is the reference, more is cheaper at the same resolution.
        projection: Width of the two-layer projection between embedding and FiLM; 0 is the
            reference, which has none.
    """

    name: str = "audiosep-base"
    sample_rate: int = 32_000
    n_fft: int = 2048
    hop_length: int = 320
    widths: tuple[int, ...] = (32, 64, 128, 256, 384, 384)
    condition_size: int = 512
    magnitude_scale: Literal["linear", "log"] = "linear"
    bands: int = 1
    projection: int = 0

    def __post_init__(self) -> None:
        if len(self.widths) != 6 or min(self.widths) < 1:
            raise ValueError(f"widths must be six positive channel counts, not {self.widths}")
        if self.magnitude_scale not in ("linear", "log"):
            raise ValueError(
                f"magnitude_scale must be 'linear' or 'log', not {self.magnitude_scale!r}"
            )
        for field in ("sample_rate", "n_fft", "hop_length", "condition_size", "bands"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{field} must be a positive whole number, not {value!r}")
        if self.n_fft % (2 * self.bands * 2**FREQUENCY_POOLINGS):
            raise ValueError(
                f"n_fft must be a multiple of {2 * self.bands * 2**FREQUENCY_POOLINGS}, so that "
                f"its bins can be halved six times in {self.bands} bands, not {self.n_fft}"
            )
        if self.hop_length >= self.n_fft // 2:
            raise ValueError(
                f"hop_length must be under half of n_fft ({self.n_fft // 2}), not {self.hop_length}"
            )

    @property
    def bins(self) -> int:
        """Frequency bins of a spectrum, DC and Nyquist included."""
        return self.n_fft // 2 + 1

    @property
    def frame_multiple(self) -> int:
        """The network takes a number of frames divisible by this."""
        return 2**TIME_POOLINGS

    @property
    def receptive_frames(self) -> int:
        """Frames to either side of a frame that can influence its mask, at most.

        Counted from the structure: each 3×3 convolution reaches one frame further at its
        time resolution, each pooling or transposed convolution at most to the end of its cell.
        """
        reach = 0
        for level in range(TIME_POOLINGS + 1):
            scale = 2**level
            # Two convolutions down, two up; a cell's other end; the deepest scale holds
            # encoder block 6, the centre block and decoder block 1: six convolutions.
            convolutions = 4 if level < TIME_POOLINGS else 6
            reach += convolutions * scale
        return reach + 2**TIME_POOLINGS - 1

    @property
    def receptive_seconds(self) -> float:
        """Time to either side that can influence a sample, STFT windows included."""
        return (self.receptive_frames * self.hop_length + self.n_fft) / self.sample_rate

    def frames(self, samples: int) -> int:
        """Centred STFT frames of a signal of ``samples`` samples."""
        return samples // self.hop_length + 1

    def padded_frames(self, frames: int) -> int:
        """``frames`` rounded up to the network's multiple."""
        return math.ceil(frames / self.frame_multiple) * self.frame_multiple

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {**dataclasses.asdict(self), "widths": list(self.widths)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SeparatorConfig:
        """The inverse of :meth:`to_dict`.

        Raises:
            FieldError: A field is unknown or of another type.
            ValueError: A field has an impossible value.
        """
        return from_plain(
            cls, {_FORMER_NAMES.get(name, name): value for name, value in values.items()}
        )


#: A network of either form.
NetworkConfig = SeparatorConfig | StreamingConfig

#: Networks known by name. The first ``mini`` had the windowed form.
CONFIGS: dict[str, NetworkConfig] = {
    config.name: config
    for config in (
        SeparatorConfig(),
        SeparatorConfig(name="audiosep-paper", n_fft=1024, widths=(32, 64, 128, 256, 512, 1024)),
        MINI,
        LIVE,
        SeparatorConfig(
            name="mini-windowed",
            n_fft=1536,
            hop_length=512,
            widths=(16, 32, 64, 96, 128, 128),
            condition_size=384,
            magnitude_scale="log",
            bands=3,
            projection=128,
        ),
    )
}


def network_config(values: dict[str, Any]) -> NetworkConfig:
    """The configuration of a network of either form, from plain JSON types.

    Raises:
        ValueError: A field is unknown or has an impossible value.
    """
    if values.get("form") == FORM:
        return StreamingConfig.from_dict(values)
    return SeparatorConfig.from_dict(values)


def get_config(name: str) -> NetworkConfig:
    """The configuration called ``name``.

    Raises:
        ValueError: No configuration has that name.
    """
    try:
        return CONFIGS[name]
    except KeyError:
        raise ValueError(
            f"no network is called {name!r}; known: {', '.join(sorted(CONFIGS))}"
        ) from None

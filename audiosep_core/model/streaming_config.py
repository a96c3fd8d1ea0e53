"""One description of a streaming separation network, shared by training, export and the runtime."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from audiosep_core.plain import from_plain

#: The networks are told apart by this field of ``model.json``.
FORM: Literal["streaming"] = "streaming"


@dataclasses.dataclass(frozen=True)
class StreamingConfig:
    """Shape and time structure of a separation network that runs as the sound arrives.

    Frames are a fixed part of a second, so that a hop is a whole number of samples at every
    studio rate and the network never sees the rate: bin ``k`` lies at ``k * bin_hz`` everywhere.

    Attributes:
        name: Name of the model, as users write it after ``--model``.
        frame_rate: STFT frames a second.
        overlap: Length of the analysis window, in hops.
        synthesis: Length of the synthesis window, in hops: its end is the analysis window's end.
        band_groups: (positions, bins): from low to high, so many positions of so many bins each.
            A position is what the network convolves over; its bins enter it as channels.
        widths: Channels of each level; a level halves the positions of the one before it.
        time_pooling: Frames that become one on entering each level.
        time_taps: Frames that the two convolutions of a block see, their own and those before.
        look_ahead: Frames of the future that a mask may depend on.
        recurrent: Size of the recurrent state at the deepest level.
        condition_size: Length of a query embedding.
        projection: Width of the two-layer projection between embedding and FiLM.
        level_seconds: Time constant of the running level that the magnitudes are divided by.
        phase: Whether the mask turns the phase, too.
    """

    name: str
    frame_rate: int
    overlap: int = 4
    synthesis: int = 4
    band_groups: tuple[tuple[int, int], ...] = ((16, 4), (16, 8), (16, 16), (16, 26))
    widths: tuple[int, ...] = (32, 48, 96, 128, 128)
    time_pooling: tuple[int, ...] = (1, 1, 2, 2, 1)
    time_taps: tuple[int, int] = (3, 3)
    look_ahead: int = 0
    recurrent: int = 256
    condition_size: int = 384
    projection: int = 128
    level_seconds: float = 3.0
    phase: bool = True
    form: Literal["streaming"] = FORM

    def __post_init__(self) -> None:
        if len(self.time_pooling) != len(self.widths) or self.time_pooling[0] != 1:
            raise ValueError(
                f"time_pooling needs one number for each of the {len(self.widths)} levels, the "
                f"first of them 1, not {self.time_pooling}"
            )
        if self.positions % 2 ** (len(self.widths) - 1):
            raise ValueError(
                f"{self.positions} positions cannot be halved {len(self.widths) - 1} times: "
                "change band_groups or widths"
            )
        if self.look_ahead % self.step_frames:
            raise ValueError(
                f"look_ahead must be a multiple of the {self.step_frames} frames of a step, "
                f"not {self.look_ahead}"
            )
        if not 2 <= self.synthesis <= self.overlap:
            raise ValueError(
                f"the synthesis window must be 2 to {self.overlap} hops long, not {self.synthesis}"
            )

    @property
    def positions(self) -> int:
        """Places along frequency that the network convolves over."""
        return sum(count for count, _ in self.band_groups)

    @property
    def bins(self) -> int:
        """Bins of a frame that the network sees, from DC up."""
        return sum(count * width for count, width in self.band_groups)

    @property
    def bin_hz(self) -> float:
        """Distance of neighbouring bins in Hz."""
        return self.frame_rate / self.overlap

    @property
    def step_frames(self) -> int:
        """Frames that the network takes at a time: all its poolings in time are whole then."""
        return math.prod(self.time_pooling)

    @property
    def skip_delays(self) -> tuple[int, ...]:
        """Frames, at each level's own rate, by which its skip connection is held back.

        What a decoder reaches to either side of a held-back frame is the same then.
        """
        reach = sum(self.time_taps) - 2
        spans = [math.prod(self.time_pooling[: i + 1]) for i in range(len(self.widths))]
        return tuple(max(0, self.look_ahead // span - reach) for span in spans)

    def hop_length(self, sample_rate: int) -> int:
        """Samples of a hop.

        Raises:
            ValueError: Frames would not be a whole number of samples.
        """
        if sample_rate % self.frame_rate:
            raise ValueError(
                f"{self.name} has {self.frame_rate} frames a second, which {sample_rate} Hz cannot "
                f"be divided into: resample to a multiple of {self.frame_rate} Hz"
            )
        return sample_rate // self.frame_rate

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            name: [list(part) if isinstance(part, tuple) else part for part in value]
            if isinstance(value, tuple)
            else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StreamingConfig:
        """The inverse of :meth:`to_dict`.

        Raises:
            FieldError: A field is unknown or of another type.
            ValueError: A field has an impossible value.
        """
        return from_plain(cls, values)


MINI = StreamingConfig(
    name="mini",
    frame_rate=75,
    widths=(24, 48, 96, 160, 192),
    time_pooling=(1, 2, 2, 1, 1),
    time_taps=(3, 1),
    look_ahead=16,
    recurrent=384,
)
LIVE = StreamingConfig(
    name="live",
    frame_rate=150,
    synthesis=2,
    band_groups=((16, 2), (16, 4), (16, 8), (16, 13)),
    widths=(24, 40, 72, 128),
    time_pooling=(1, 2, 1, 1),
    time_taps=(3, 1),
    recurrent=256,
)

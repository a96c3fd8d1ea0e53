"""How frames are grouped for the network, and what that costs in time and in compute."""

from __future__ import annotations

import dataclasses
import math

from audiosep_core.errors import ModeError
from audiosep_core.model.config import SeparatorConfig

#: Sound that one call of the network yields masks for, offline, at least.
_OFFLINE_HOP_SECONDS = 12.0
#: Offline, the network may see this many times as many frames as there are.
_OFFLINE_COST = 1.35


@dataclasses.dataclass(frozen=True)
class Windows:
    """How frames are grouped for the network: [context | hop | look-ahead].

    Attributes:
        hop: Frames whose masks one call of the network yields.
        context: Frames before them that the network sees as well.
        look_ahead: Frames behind them that the network sees as well.

    Raises:
        ValueError: The hop is under one frame, or another part is negative.
    """

    hop: int
    context: int
    look_ahead: int

    def __post_init__(self) -> None:
        if self.hop < 1 or self.context < 0 or self.look_ahead < 0:
            raise ValueError(
                f"a window needs a hop of at least one frame and no negative part: {self}"
            )

    @property
    def frames(self) -> int:
        """Frames in a window, all three parts."""
        return self.context + self.hop + self.look_ahead

    @property
    def cost(self) -> float:
        """Frames that the network computes for each frame of sound."""
        return self.frames / self.hop

    def filled(self, config: SeparatorConfig) -> Windows:
        """The same with as much more context as makes up a window that the network takes."""
        missing = config.padded_frames(self.frames) - self.frames
        return dataclasses.replace(self, context=self.context + missing)

    def lengths(self, config: SeparatorConfig) -> list[int]:
        """Frames of the windows that a stream runs until it ends, the longest first.

        At its start there is less context than later on.
        """
        pasts = range(0, self.context + self.hop, self.hop)
        needed = {min(past, self.context) + self.hop + self.look_ahead for past in pasts}
        return sorted({config.padded_frames(frames) for frames in needed}, reverse=True)

    def latency(self, config: SeparatorConfig) -> int:
        """Samples at the model's rate from when a sample comes in to when its stem is known.

        The first sample that a hop's first frame touches waits for the hop, the look-ahead and
        the STFT windows of both ends.
        """
        return (self.hop + self.look_ahead - 1) * config.hop_length + config.n_fft - 1


@dataclasses.dataclass(frozen=True)
class Steps:
    """How frames are grouped for a streaming network, which sees each of them once.

    Attributes:
        frames: Of one call, a multiple of the network's ``step_frames``.

    Raises:
        ValueError: It is under one frame.
    """

    frames: int

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"a step needs at least one frame, not {self.frames}")

    @property
    def cost(self) -> float:
        """Frames that the network computes for each frame of sound."""
        return 1.0


@dataclasses.dataclass(frozen=True)
class WindowSeconds:
    """Windows of one's own, in seconds; each part is rounded up to whole frames.

    Attributes:
        hop: Sound whose masks one call of the network yields.
        context: Sound before it that the network sees as well, at least.
        look_ahead: Sound behind it that the network sees as well.

    Raises:
        ModeError: The hop is not positive, or another part is negative or not finite.
    """

    hop: float
    context: float
    look_ahead: float

    def __post_init__(self) -> None:
        parts = (self.hop, self.context, self.look_ahead)
        if not all(math.isfinite(part) and part >= 0 for part in parts) or self.hop == 0:
            raise ModeError(
                f"a window needs a hop over 0 s and finite parts that are not negative: {self}"
            )

    def windows(self, config: SeparatorConfig) -> Windows:
        """In the frames of a model."""

        def frames(seconds: float) -> int:
            # Without rounding first, 0.512 s of 62.5 frames a second come to 33.
            return math.ceil(round(seconds * config.sample_rate / config.hop_length, 6))

        return Windows(
            max(1, frames(self.hop)), frames(self.context), frames(self.look_ahead)
        ).filled(config)


def offline_windows(config: SeparatorConfig, context_seconds: float) -> Windows:
    """Windows that give the masks of the whole recording at once, in bounded memory.

    Context and look-ahead are in whole cells of the network's pooling, so that every window
    divides into the cells of the whole recording.

    Args:
        config: Of the network.
        context_seconds: What its masks depend on, before and behind.
    """
    cell_seconds = config.frame_multiple * config.hop_length / config.sample_rate
    # Without rounding first, 2.24 s of cells of 0.32 s come to 8.
    context = math.ceil(round(context_seconds / cell_seconds, 6))
    hop = max(
        round(_OFFLINE_HOP_SECONDS / cell_seconds), math.ceil(2 * context / (_OFFLINE_COST - 1)), 1
    )
    frames = config.frame_multiple
    return Windows(hop=hop * frames, context=context * frames, look_ahead=context * frames)

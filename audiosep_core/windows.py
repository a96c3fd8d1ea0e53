"""How frames are grouped for the network, and what that costs in time and in compute."""

from __future__ import annotations

import dataclasses
import math

from audiosep_core.bundle import Bundle
from audiosep_core.config import SeparatorConfig

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
        return (self.hop + self.look_ahead - 1) * config.hop + config.window - 1


def offline_windows(bundle: Bundle) -> Windows:
    """Windows that give the masks of the whole recording at once, in bounded memory.

    Context and look-ahead are what the bundle says its masks depend on, in whole cells of the
    network's pooling, so that every window divides into the cells of the whole recording.
    """
    config = bundle.config
    cell_seconds = config.frame_multiple * config.hop / config.sample_rate
    # Without rounding first, 2.24 s of cells of 0.32 s come to 8.
    context = math.ceil(round(bundle.context_seconds / cell_seconds, 6))
    hop = max(
        round(_OFFLINE_HOP_SECONDS / cell_seconds), math.ceil(2 * context / (_OFFLINE_COST - 1)), 1
    )
    frames = config.frame_multiple
    return Windows(hop=hop * frames, context=context * frames, look_ahead=context * frames)

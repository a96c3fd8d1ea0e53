"""Latency modes: what the network may see before and behind the sound that it masks."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from audiosep_core.bundle import Bundle
from audiosep_core.config import SeparatorConfig
from audiosep_core.errors import ModeError
from audiosep_core.windows import Windows, offline_windows
from plugin_bridge.latency import stream_latency

ModeName = Literal["render", "mix", "track"]

#: The rate at which the limits of the modes hold.
_LIMIT_RATE = 48_000
_MIX_LIMIT = int(1.5 * _LIMIT_RATE)
#: The most that Pro Tools compensates, 341 ms.
_TRACK_LIMIT = 16_383
_TRACK_CONTEXT_SECONDS = 0.5


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
            return math.ceil(round(seconds * config.sample_rate / config.hop, 6))

        return Windows(
            max(1, frames(self.hop)), frames(self.context), frames(self.look_ahead)
        ).filled(config)


Mode = ModeName | Windows | WindowSeconds

_MIX = WindowSeconds(hop=0.5, context=1.0, look_ahead=0.5)


def mode_windows(mode: Mode, bundle: Bundle, slack: float = 0.0) -> Windows:
    """The windows of a mode for a model.

    * ``render``: the quality of a file separated as a whole.
    * ``mix``: at most 1.5 s of latency at 48 kHz.
    * ``track``: at most 16,383 samples at 48 kHz, the most that Pro Tools compensates.
    * :class:`WindowSeconds` or :class:`audiosep_core.windows.Windows`: as they say, with as
      much more context as the network needs to divide the window.

    Args:
        mode: See above.
        bundle: The model.
        slack: Seconds that come on top of the latency, within the limit of a mode.

    Raises:
        ModeError: There is no such mode, or the model cannot keep to it.
    """
    config = bundle.config
    slack_samples = math.ceil(slack * _LIMIT_RATE)
    if isinstance(mode, Windows):
        return mode.filled(config)
    if isinstance(mode, WindowSeconds):
        return mode.windows(config)
    if mode == "render":
        return offline_windows(bundle)
    if mode == "mix":
        windows = _MIX.windows(config)
        latency = stream_latency(windows, config, _LIMIT_RATE).total
        if latency + slack_samples > _MIX_LIMIT:
            raise _too_slow(mode, config, _MIX_LIMIT, slack_samples)
        return windows
    if mode == "track":
        return _track_windows(config, slack_samples)
    raise ModeError(
        f"mode must be 'render', 'mix', 'track', WindowSeconds or Windows, not {mode!r}"
    )


def _track_windows(config: SeparatorConfig, slack: int) -> Windows:
    """Half of what the limit leaves is hop, half look-ahead."""
    shortest = stream_latency(Windows(1, 0, 1), config, _LIMIT_RATE).total
    spare = (_TRACK_LIMIT - slack - shortest) * config.sample_rate // (_LIMIT_RATE * config.hop)
    frames = 2 + spare
    if frames < 2:
        raise _too_slow("track", config, _TRACK_LIMIT, slack)
    hop = frames // 2
    context = math.ceil(_TRACK_CONTEXT_SECONDS * config.sample_rate / config.hop)
    return Windows(hop, context, frames - hop).filled(config)


def _too_slow(mode: str, config: SeparatorConfig, limit: int, slack: int) -> ModeError:
    within = f"{limit} samples at {_LIMIT_RATE} Hz"
    if slack:
        within += f", {slack} of them slack"
    return ModeError(
        f"the model {config.name} cannot keep to mode {mode!r}: its STFT of {config.window} "
        f"samples at {config.sample_rate} Hz and the windows of that mode do not fit within "
        f"{within}; choose 'render', less slack, or another model"
    )

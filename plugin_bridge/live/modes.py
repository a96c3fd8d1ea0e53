"""Latency modes: what the network may see before and behind the sound that it masks."""

from __future__ import annotations

import math

from audiosep_core.errors import ModeError
from audiosep_core.model.bundle import Bundle
from audiosep_core.model.config import SeparatorConfig
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.settings import Mode
from audiosep_core.signal.windows import Steps, Windows, WindowSeconds, offline_windows
from plugin_bridge.live.latency import stream_latency

#: The rate at which the limits of the modes hold.
_LIMIT_RATE = 48_000
_MIX_LIMIT = int(1.5 * _LIMIT_RATE)
#: The most that Pro Tools compensates, 341 ms.
_TRACK_LIMIT = 16_383
#: What one can play through: 20 ms.
_LIVE_LIMIT = 960
_TRACK_CONTEXT_SECONDS = 0.5
_MIX = WindowSeconds(hop=0.5, context=1.0, look_ahead=0.5)


def mode_windows(mode: Mode, bundle: Bundle, slack: float = 0.0) -> Windows | Steps:
    """How frames are grouped in a mode for a model: windows, or a streaming network's steps.

    * ``render``: the quality of a file separated as a whole.
    * ``mix``: at most 1.5 s of latency at 48 kHz.
    * ``track``: at most 16,383 samples at 48 kHz, the most that Pro Tools compensates.
    * ``live``: at most 20 ms at 48 kHz, what one can play through; slack does not count.
    * windows of one's own: as they say, with as much more context as the network needs to divide
      the window.

    Args:
        mode: See above.
        bundle: The model.
        slack: Seconds that come on top of the latency, within the limit of a mode.

    Raises:
        ModeError: There is no such mode, or the model cannot keep to it.
    """
    config = bundle.config
    slack_samples = math.ceil(slack * _LIMIT_RATE)
    if isinstance(config, StreamingConfig):
        return _steps(mode, config, slack_samples)
    if mode == "live":
        raise ModeError(
            f"the model {config.name} sees windows of sound and cannot be played through; "
            "choose a streaming model, such as 'live', or mode 'track'"
        )
    if isinstance(mode, Windows):
        return mode.filled(config)
    if isinstance(mode, WindowSeconds):
        return mode.windows(config)
    if mode == "render":
        return offline_windows(config, bundle.context_seconds)
    if mode == "mix":
        windows = _MIX.windows(config)
        latency = stream_latency(windows, config, _LIMIT_RATE).total
        if latency + slack_samples > _MIX_LIMIT:
            raise _too_slow(mode, config, _MIX_LIMIT, slack_samples)
        return windows
    if mode == "track":
        return _track_windows(config, slack_samples)
    raise ModeError(
        f"mode must be 'render', 'mix', 'track', 'live', WindowSeconds or Windows, not {mode!r}"
    )


def keeps(mode: Mode, bundle: Bundle) -> bool:
    """Whether a model can keep to a mode."""
    try:
        mode_windows(mode, bundle)
    except ModeError:
        return False
    return True


def longest_slack(mode: Mode, bundle: Bundle) -> float:
    """Seconds of slack with which a model still keeps to a mode; windows make room, steps not."""
    config = bundle.config
    if mode != "track" or not isinstance(config, StreamingConfig):
        return math.inf
    latency = stream_latency(Steps(config.step_frames), config, _LIMIT_RATE).total
    return max(0, _TRACK_LIMIT - latency) / _LIMIT_RATE


def _steps(mode: Mode, config: StreamingConfig, slack: int) -> Steps:
    """One step a call: all modes of a streaming network are one, if its latency fits them."""
    if isinstance(mode, Windows | WindowSeconds):
        raise ModeError(
            f"the model {config.name} sees every frame once and has no windows; choose the mode "
            "'render', 'mix' or 'track'"
        )
    steps = mode if isinstance(mode, Steps) else Steps(config.step_frames)
    latency = stream_latency(steps, config, _LIMIT_RATE).total
    limits = {"mix": _MIX_LIMIT - slack, "track": _TRACK_LIMIT - slack, "live": _LIVE_LIMIT}
    limit = limits.get(mode) if isinstance(mode, str) else None
    if limit is not None and latency > limit:
        raise ModeError(
            f"the model {config.name} answers after {latency} samples at {_LIMIT_RATE} Hz, mode "
            f"{mode!r} leaves {limit}; choose another mode or another model"
        )
    return steps


def _track_windows(config: SeparatorConfig, slack: int) -> Windows:
    """Half of what the limit leaves is hop, half look-ahead."""
    shortest = stream_latency(Windows(1, 0, 1), config, _LIMIT_RATE).total
    spare = (
        (_TRACK_LIMIT - slack - shortest) * config.sample_rate // (_LIMIT_RATE * config.hop_length)
    )
    frames = 2 + spare
    if frames < 2:
        raise _too_slow("track", config, _TRACK_LIMIT, slack)
    hop = frames // 2
    context = math.ceil(_TRACK_CONTEXT_SECONDS * config.sample_rate / config.hop_length)
    return Windows(hop, context, frames - hop).filled(config)


def _too_slow(mode: str, config: SeparatorConfig, limit: int, slack: int) -> ModeError:
    within = f"{limit} samples at {_LIMIT_RATE} Hz"
    if slack:
        within += f", {slack} of them slack"
    return ModeError(
        f"the model {config.name} cannot keep to mode {mode!r}: its STFT of {config.n_fft} "
        f"samples at {config.sample_rate} Hz and the windows of that mode do not fit within "
        f"{within}; choose 'render', less slack, or another model"
    )

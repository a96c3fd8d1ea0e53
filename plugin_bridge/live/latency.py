"""The latency of a stream, known to the sample before its first block."""

from __future__ import annotations

import dataclasses
import math

from audiosep_core.model.config import SeparatorConfig
from audiosep_core.model.streaming_config import StreamingConfig
from audiosep_core.signal.resampling import held_back
from audiosep_core.signal.stepped_stream import INNER_RATE, has_own_frames
from audiosep_core.signal.windows import Steps, Windows

_QUANTUM_SECONDS = 0.01
#: What a network of frames heard so long ago changes what `mini` gives by some 1e-5 at most; `live`
#: remembers longer.
_MEMORY_SECONDS = 30.0


@dataclasses.dataclass(frozen=True)
class LatencyParts:
    """What a stream's latency is made of, in samples at the caller's rate.

    Attributes:
        algorithmic: Hop, look-ahead and STFT window.
        resampling: What both resamplers hold back at most.
        buffering: Samples that wait until a quantum of input is complete.
    """

    algorithmic: int
    resampling: int
    buffering: int

    @property
    def total(self) -> int:
        """Samples by which the output lies behind the input."""
        return self.algorithmic + self.resampling + self.buffering


def quantum_samples(sample_rate: int, config: SeparatorConfig | StreamingConfig) -> int:
    """Samples that a stream takes at a time, whatever the blocks it is given.

    10 ms where there are resamplers, which give other bits for other portions; else one sample.
    """
    if isinstance(config, StreamingConfig) and has_own_frames(config, sample_rate):
        return 1
    return max(1, round(sample_rate * _QUANTUM_SECONDS))


def step_samples(sample_rate: int, config: SeparatorConfig | StreamingConfig) -> int:
    """Samples of a step of a network that streams at the stream's own rate; 0 for all others."""
    if isinstance(config, StreamingConfig) and has_own_frames(config, sample_rate):
        return config.step_frames * config.hop_length(sample_rate)
    return 0


def hop_samples(
    windows: Windows | Steps, config: SeparatorConfig | StreamingConfig, sample_rate: int
) -> int:
    """Samples of sound that one call of the network gives masks for."""
    if isinstance(config, StreamingConfig):
        return max(1, round(windows_frames(windows) * sample_rate / config.frame_rate))
    return max(
        1, round(windows_frames(windows) * config.hop_length * sample_rate / config.sample_rate)
    )


def preroll_samples(
    windows: Windows | Steps, config: SeparatorConfig | StreamingConfig, sample_rate: int
) -> int:
    """Samples before one that its masks depend on.

    A network that remembers depends on all that it heard; after so many, 30 s, little is left of
    what lies before.
    """
    if isinstance(windows, Steps):
        return round(_MEMORY_SECONDS * sample_rate)
    assert isinstance(config, SeparatorConfig)
    inner = (windows.context + windows.hop) * config.hop_length + 2 * config.n_fft
    # What resamplers and the fade of a change reach back by comes on top.
    return math.ceil(inner * sample_rate / config.sample_rate) + round(0.1 * sample_rate)


def windows_frames(windows: Windows | Steps) -> int:
    """Frames that one call of the network gives masks for."""
    return windows.frames if isinstance(windows, Steps) else windows.hop


def call_lengths(windows: Windows | Steps, config: SeparatorConfig | StreamingConfig) -> list[int]:
    """Frames of the calls that a stream makes until it ends, the longest first."""
    if isinstance(windows, Steps):
        return [windows.frames]
    assert isinstance(config, SeparatorConfig)
    return windows.lengths(config)


def stream_latency(
    windows: Windows | Steps, config: SeparatorConfig | StreamingConfig, sample_rate: int
) -> LatencyParts:
    """The latency that never runs dry, part by part.

    With q samples to a quantum, a call that ends at sample n has had ``n - q + 1`` of them
    processed at least. Of these the first resampler yields all but what it holds back, the
    network gives masks to all but its latency, and the second resampler holds back its share
    of the rest: the sum of the three is the most that can be missing at any time.
    """
    if isinstance(config, StreamingConfig):
        inner_rate = sample_rate if has_own_frames(config, sample_rate) else INNER_RATE
        algorithmic = _stepped(windows_frames(windows), config, inner_rate)
    else:
        assert isinstance(windows, Windows)
        inner_rate = config.sample_rate
        algorithmic = windows.latency(config)
    ratio = sample_rate / inner_rate
    down, up = held_back(sample_rate, inner_rate), held_back(inner_rate, sample_rate)
    return LatencyParts(
        algorithmic=math.ceil(algorithmic * ratio),
        resampling=math.ceil(down * ratio + up),
        buffering=quantum_samples(sample_rate, config) - 1,
    )


def _stepped(frames: int, config: StreamingConfig, sample_rate: int) -> int:
    """Samples from when a sample comes in to when its stem is known, at a rate of whole frames.

    Its frame waits for the others of its call, for the look-ahead, and for what later frames add
    to its synthesis window.
    """
    return (frames + config.look_ahead + config.synthesis - 1) * config.hop_length(sample_rate) - 1

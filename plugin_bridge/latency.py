"""The latency of a stream, known to the sample before its first block."""

from __future__ import annotations

import dataclasses
import math

from audiosep_core.config import SeparatorConfig
from audiosep_core.resampling import held_back
from audiosep_core.windows import Windows

_QUANTUM_SECONDS = 0.01


@dataclasses.dataclass(frozen=True)
class Latency:
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


def quantum_samples(sample_rate: int) -> int:
    """Samples that a stream takes at a time, whatever the blocks it is given: 10 ms."""
    return max(1, round(sample_rate * _QUANTUM_SECONDS))


def stream_latency(windows: Windows, config: SeparatorConfig, sample_rate: int) -> Latency:
    """The latency that never runs dry, part by part.

    With q samples to a quantum, a call that ends at sample n has had ``n - q + 1`` of them
    processed at least. Of these the first resampler yields all but what it holds back, the
    windows give masks to all but their latency, and the second resampler holds back its share
    of the rest: the sum of the three is the most that can be missing at any time.
    """
    ratio = sample_rate / config.sample_rate
    down = held_back(sample_rate, config.sample_rate)
    up = held_back(config.sample_rate, sample_rate)
    return Latency(
        algorithmic=math.ceil(windows.latency(config) * ratio),
        resampling=math.ceil(down * ratio + up),
        buffering=quantum_samples(sample_rate) - 1,
    )

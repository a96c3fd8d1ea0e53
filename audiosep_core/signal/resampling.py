"""Sample-rate conversion in blocks, by soxr."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import soxr
from numpy.typing import NDArray

_QUALITY = "HQ"
#: A dry run feeds this many steps of this length: many times the longest of soxr's own blocks.
_DRY_STEPS = 16_000
_DRY_STEP_SECONDS = 1 / 4000
#: Share of a second by which a longer dry run could still find more.
_DRY_MARGIN_SECONDS = 1e-4


class Resampler:
    """Converts a stream of blocks; what comes out is aligned with what went in.

    Over the whole stream ``round(samples * target_rate / source_rate)`` samples come out, the
    first one at the time of the first one that went in; the filter holds some back until
    :meth:`finish`.

    Args:
        source_rate: Rate of what goes in, in Hz.
        target_rate: Rate of what comes out, in Hz.
        channels: Number of channels, at least 1.
    """

    def __init__(self, source_rate: int, target_rate: int, channels: int) -> None:
        self._channels = channels
        self._stream: soxr.ResampleStream | None = None
        if source_rate != target_rate:
            self._stream = soxr.ResampleStream(
                source_rate, target_rate, channels, dtype="float32", quality=_QUALITY
            )

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, n) to (channels, m), both float32."""
        return self._convert(samples, last=False)

    def finish(self) -> NDArray[np.float32]:
        """What the filter still holds: (channels, m)."""
        return self._convert(np.empty((self._channels, 0), np.float32), last=True)

    def _convert(self, samples: NDArray[np.float32], last: bool) -> NDArray[np.float32]:
        if self._stream is None:
            return samples
        frames = np.ascontiguousarray(samples.T)
        converted = self._stream.resample_chunk(frames, last=last)
        return converted.reshape(-1, self._channels).T


@lru_cache(maxsize=64)
def held_back(source_rate: int, target_rate: int) -> float:
    """The most that a :class:`Resampler`'s output ever lags behind its input.

    soxr works in blocks of its own; how many samples have come out depends on how many have
    gone in, and on nothing else, so that feeding silence once tells. Takes about 0.1 s.

    Returns:
        Samples at ``target_rate``: after n samples in, at least
        ``n * target_rate / source_rate`` less this have come out. 0 for equal rates.
    """
    if source_rate == target_rate:
        return 0.0
    ratio = target_rate / source_rate
    step = max(1, round(source_rate * _DRY_STEP_SECONDS))
    resampler = Resampler(source_rate, target_rate, 1)
    silence = np.zeros((1, step), np.float32)
    fed = yielded = 0
    worst = 0.0
    for _ in range(_DRY_STEPS):
        # Up to one sample before the step is complete, nothing of it has come out.
        fed += step
        worst = max(worst, fed * ratio - yielded)
        yielded += resampler.push(silence).shape[-1]
    return worst + math.ceil(target_rate * _DRY_MARGIN_SECONDS)

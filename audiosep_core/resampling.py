"""Sample-rate conversion in blocks, by soxr."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

_QUALITY = "HQ"


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

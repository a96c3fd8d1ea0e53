"""How loud a sound is (ITU-R BS.1770-4), for mixtures of sounds of a given loudness."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import lfilter

_BLOCK_SECONDS = 0.4
_OVERLAPPING = 4
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
_OFFSET = -0.691


def integrated_loudness(audio: NDArray[np.float32], sample_rate: int) -> float:
    """Loudness in LUFS of a mono sound; −inf where nothing of it passes the gates.

    Args:
        audio: (samples,); repeated where it is shorter than a block of 0.4 s.
        sample_rate: In Hz.
    """
    window = round(_BLOCK_SECONDS * sample_rate)
    if not audio.size:
        return -np.inf
    heard = np.resize(audio, max(window, audio.size)).astype(np.float64)
    for numerator, denominator in _weighting(sample_rate):
        heard = lfilter(numerator, denominator, heard)
    blocks = sliding_window_view(heard, window)[:: window // _OVERLAPPING]
    powers = np.mean(blocks**2, axis=1)
    powers = powers[_lufs(powers) > _ABSOLUTE_GATE]
    if powers.size:
        powers = powers[_lufs(powers) > _lufs(powers.mean()) + _RELATIVE_GATE]
    return float(_lufs(powers.mean())) if powers.size else -np.inf


def _lufs(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return _OFFSET + 10 * np.log10(np.maximum(power, 1e-20))


def _weighting(sample_rate: int) -> list[tuple[list[float], list[float]]]:
    """The shelf of a head and the high-pass, as second-order sections for any rate.

    The standard gives coefficients for 48 kHz; these are the analogue filters behind them.
    """
    gain = 10 ** (3.999843853973347 / 20)
    k = np.tan(np.pi * 1681.974450955533 / sample_rate)
    q = 0.7071752369554196
    side = gain**0.4996667741545416
    scale = 1 + k / q + k * k
    shelf = (
        [(gain + side * k / q + k * k) / scale, 2 * (k * k - gain) / scale,
         (gain - side * k / q + k * k) / scale],
        [1.0, 2 * (k * k - 1) / scale, (1 - k / q + k * k) / scale],
    )  # fmt: skip
    k = np.tan(np.pi * 38.13547087602444 / sample_rate)
    q = 0.5003270373238773
    scale = 1 + k / q + k * k
    high = ([1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / scale, (1 - k / q + k * k) / scale])
    return [shelf, high]

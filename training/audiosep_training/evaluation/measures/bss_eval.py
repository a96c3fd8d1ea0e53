"""The SDR of BSS Eval: distortions that a short filter could undo do not count.

Vincent, Gribonval and Févotte, "Performance measurement in blind audio source separation" (2006),
with one source: the estimate is projected on the reference and its delays up to 511 samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.fft import irfft, next_fast_len, rfft
from scipy.linalg import LinAlgError, solve_toeplitz

FILTER_TAPS = 512
_LARGEST_DB = 100.0


def bss_sdr(reference: ArrayLike, estimate: ArrayLike, taps: int = FILTER_TAPS) -> float:
    """SDR in dB after the best filter of ``taps`` taps on the reference; at most ±100.

    Args:
        reference: (samples,) the true target.
        estimate: (samples,) what a separator made of it.
        taps: Length of the filter.

    Returns:
        NaN where the reference or the estimate is silent.

    Raises:
        ValueError: The arrays are not one-dimensional or differ in length.
    """
    true = np.asarray(reference, np.float64)
    made = np.asarray(estimate, np.float64)
    if true.ndim != 1 or true.shape != made.shape:
        raise ValueError(
            "reference and estimate must be one-dimensional and equally long, not "
            f"{true.shape} and {made.shape}"
        )
    energy = float(made @ made)
    if energy == 0 or not true.any():
        return float("nan")
    size = next_fast_len(2 * len(true) + taps, real=True)
    spectrum = rfft(true, size)
    correlation = irfft(np.abs(spectrum) ** 2, size)[:taps]
    cross = irfft(spectrum.conj() * rfft(made, size), size)[:taps]
    try:
        filter_ = solve_toeplitz(correlation, cross)
    except LinAlgError:
        return float("nan")
    # The projection's energy is its inner product with what it projects.
    explained = float(np.clip((filter_ @ cross) / energy, 0, 1))
    floor = 10 ** (-_LARGEST_DB / 10)
    return float(10 * np.log10(max(explained, floor) / max(1 - explained, floor)))

"""Separation metrics, computed as the released evaluation computes them; all in decibels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_POWER_FLOOR = 1e-10


def sdr(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Signal-to-distortion ratio: 10 log10 of the power of reference over that of the error.

    Both powers are means over the signal, floored at 1e-10 (released ``calculate_sdr``).

    Args:
        reference: (samples,) the true target.
        estimate: (samples,) what a separator made of it.

    Raises:
        ValueError: The arrays are not one-dimensional or differ in length.
    """
    reference, estimate = _pair(reference, estimate)
    error = estimate - reference
    power = max(float(np.mean(reference**2)), _POWER_FLOOR)
    return float(10 * np.log10(power / max(float(np.mean(error**2)), _POWER_FLOOR)))


def sdr_improvement(reference: ArrayLike, estimate: ArrayLike, mixture: ArrayLike) -> float:
    """SDRi: the SDR of the estimate less that of the untouched mixture.

    Raises:
        ValueError: The arrays are not one-dimensional or differ in length.
    """
    return sdr(reference, estimate) - sdr(reference, mixture)


def si_sdr(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Scale-invariant SDR: the error is measured against the best scaling of the reference.

    As in the released evaluation the signals keep their mean, and float epsilon guards each
    division.

    Raises:
        ValueError: The arrays are not one-dimensional or differ in length.
    """
    reference, estimate = _pair(reference, estimate)
    epsilon = np.finfo(reference.dtype).eps
    scale = (epsilon + np.dot(reference, estimate)) / (np.dot(reference, reference) + epsilon)
    target = scale * reference
    error = estimate - target
    ratio = (epsilon + np.dot(target, target)) / (np.dot(error, error) + epsilon)
    return float(10 * np.log10(ratio))


def _pair(reference: ArrayLike, estimate: ArrayLike) -> tuple[NDArray, NDArray]:
    reference = _signal(reference)
    estimate = _signal(estimate)
    if reference.ndim != 1 or reference.shape != estimate.shape:
        raise ValueError(
            "reference and estimate must be one-dimensional and equally long, not "
            f"{reference.shape} and {estimate.shape}"
        )
    return reference, estimate


def _signal(values: ArrayLike) -> NDArray:
    array = np.asarray(values)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)

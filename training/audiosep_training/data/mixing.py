"""Mixtures: loudness augmentation and declipping, as the released code does it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SMALLEST_RATIO = 0.02
_LARGEST_RATIO = 50.0
_SMALLEST_PEAK = 1e-10


def match_energy(
    background: NDArray[np.float32], target: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Scale the background to the target's energy, by a factor held in 0.02…50.

    Args:
        background: (samples,) any signal.
        target: (samples,) the signal whose energy is taken.
    """
    energy = max(float(np.mean(target**2)), 1e-10)
    ratio = np.sqrt(float(np.mean(background**2)) / energy)
    return background / np.float32(np.clip(ratio, _SMALLEST_RATIO, _LARGEST_RATIO))


def add_sources(
    sources: Sequence[NDArray[np.float32]], target: NDArray[np.float32], gains_db: Sequence[float]
) -> NDArray[np.float32]:
    """The sum of a background's sources, each matched to the target's energy and then amplified.

    The released code does this before it matches the whole background, as :func:`mix` does.

    Args:
        sources: (samples,) float32 each, at least one.
        target: (samples,) float32.
        gains_db: One for each source.

    Returns:
        (samples,) float32.
    """
    background = np.zeros_like(target)
    for source, gain_db in zip(sources, gains_db, strict=True):
        background += match_energy(source, target) * np.float32(10 ** (gain_db / 20))
    return background


def mix(
    target: NDArray[np.float32], background: NDArray[np.float32], gain_db: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mix the energy-matched background into the target.

    Args:
        target: (samples,) float32.
        background: (samples,) float32.
        gain_db: Level of the background over the target's, in dB (the paper draws −10…10).

    Returns:
        mixture, target and background, scaled down together where the mixture would exceed
        full scale: mixture == target + background.
    """
    return _declipped(target, match_energy(background, target) * np.float32(10 ** (gain_db / 20)))


def mix_peaks(
    target: NDArray[np.float32], background: NDArray[np.float32], gain_db: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mix at a ratio of peaks, as LASS-Net's released code does.

    Args:
        target: (samples,) float32.
        background: (samples,) float32.
        gain_db: Peak of the background over that of the target, in dB.

    Returns:
        mixture, target and background, of which the loudest reaches full scale: mixture ==
        target + background.
    """
    target = target / _peak(target)
    background = background / _peak(background) * np.float32(10 ** (gain_db / 20))
    largest = max(map(_peak, (target + background, target, background)))
    target, background = target / largest, background / largest
    return target + background, target, background


def _peak(audio: NDArray[np.float32]) -> np.float32:
    return np.float32(max(float(np.abs(audio).max()), _SMALLEST_PEAK))


def mix_factors(
    target: NDArray[np.float32], background: NDArray[np.float32], factors: tuple[float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mix two sounds as they are, each times its factor; the mixture may exceed full scale.

    Returns:
        mixture, target and background, as :func:`mix` returns them.
    """
    target, background = target * np.float32(factors[0]), background * np.float32(factors[1])
    return target + background, target, background


def mix_at(
    target: NDArray[np.float32], background: NDArray[np.float32], gain_db: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mix two sounds at an exact ratio of their mean powers, as evaluation sets ask for.

    Args:
        target: (samples,) float32, not silent.
        background: (samples,) float32, not silent.
        gain_db: Level of the background over the target's, in dB.

    Returns:
        mixture, target and background, as :func:`mix` returns them.
    """
    powers = [float(np.mean(np.square(audio, dtype=np.float64))) for audio in (target, background)]
    gain = np.sqrt(powers[0] / powers[1]) * 10 ** (gain_db / 20)
    return _declipped(target, background * np.float32(gain))


def _declipped(
    target: NDArray[np.float32], background: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    mixture = target + background
    peak = float(np.abs(mixture).max())
    if peak > 1:
        scale = np.float32(0.9 / peak)
        target, background = target * scale, background * scale
        mixture = target + background
    return mixture, target, background

"""Mixtures: loudness augmentation and declipping, as the released code does it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SMALLEST_RATIO = 0.02
_LARGEST_RATIO = 50.0


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

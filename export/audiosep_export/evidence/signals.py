"""Synthetic signals that an export is verified with, float32 in -1…1 at any rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

_RNG_SEED = 20


def verification_signals(samples: int, sample_rate: int) -> dict[str, NDArray[np.float32]]:
    """Name to (samples,): extremes that break half precision, and what users separate."""
    time = np.arange(samples) / sample_rate
    rng = np.random.default_rng(_RNG_SEED)
    impulses = np.zeros(samples)
    impulses[:: sample_rate // 8] = 1
    signals = {
        "silence": np.zeros(samples),
        "full-scale sine": np.sin(2 * np.pi * 1000 * time),
        "impulses": impulses,
        "noise": rng.uniform(-1, 1, samples),
        "music": _music(time),
        "speech": _speech(time, sample_rate, rng),
    }
    return {name: signal.astype(np.float32) for name, signal in signals.items()}


def _music(time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Plucked chords: decaying harmonics of three notes, struck twice a second."""
    decay = np.exp(-6 * (time % 0.5))
    notes = [220 * 2 ** (step / 12) for step in (0, 4, 7)]
    chord = [np.sin(2 * np.pi * n * f * time) / n for f in notes for n in range(1, 9)]
    return 0.15 * decay * np.sum(chord, axis=0)


def _speech(
    time: NDArray[np.float64], sample_rate: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A gliding voice through two formants, in syllables, with breath."""
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time)
    pulses = np.diff(np.floor(np.cumsum(pitch) / sample_rate), prepend=0)
    source = pulses + 0.02 * rng.standard_normal(len(time))
    for formant, width in ((700, 110), (1220, 120)):
        radius = np.exp(-np.pi * width / sample_rate)
        angle = 2 * np.pi * formant / sample_rate
        source = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], source)
    syllables = np.clip(np.sin(2 * np.pi * 4 * time), 0, None)
    return 0.5 * source * syllables / max(np.abs(source).max(), 1e-9)

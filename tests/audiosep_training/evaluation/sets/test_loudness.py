"""Loudness by ITU-R BS.1770-4."""

import numpy as np
import pytest

from audiosep_training.evaluation.sets.loudness import integrated_loudness


@pytest.mark.parametrize("rate", [16_000, 32_000, 44_100, 48_000])
def test_the_standards_tone(rate):
    """A tone of 997 Hz at full scale in one channel has −3.01 LUFS."""
    tone = np.sin(2 * np.pi * 997 * np.arange(3 * rate) / rate).astype(np.float32)
    assert integrated_loudness(tone, rate) == pytest.approx(-3.01, abs=0.05)
    assert integrated_loudness(0.1 * tone, rate) == pytest.approx(-23.01, abs=0.05)
    # Pauses do not count, as little as what is far below the rest.
    paused = np.concatenate([tone, np.zeros(6 * rate, np.float32), 1e-3 * tone])
    assert integrated_loudness(paused, rate) == pytest.approx(-3.3, abs=0.4)


def test_silence_and_short_sounds():
    assert integrated_loudness(np.zeros(32_000, np.float32), 32_000) == -np.inf
    assert integrated_loudness(np.zeros(0, np.float32), 32_000) == -np.inf
    tone = np.sin(2 * np.pi * 997 * np.arange(3200) / 32_000).astype(np.float32)
    assert integrated_loudness(tone, 32_000) == pytest.approx(-3.01, abs=0.3)

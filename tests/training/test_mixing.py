"""Loudness augmentation as the released code does it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.mixing import match_energy, mix, mix_at


def energy(signal):
    return float(np.mean(np.square(signal, dtype=np.float64)))


@given(level=st.floats(-60, 20), gain=st.integers(-10, 10))
def test_gain_is_over_the_targets_energy(level, gain):
    rng = np.random.default_rng(1)
    target = (0.1 * rng.standard_normal(4000)).astype(np.float32)
    background = (target[::-1] * 10 ** (level / 20)).astype(np.float32)
    mixture, target, background = mix(target, background, gain)
    # The ratio of energies is clamped to 0.02…50 before the gain is applied.
    clamped = np.clip(-level, 10 * np.log10(0.02), 10 * np.log10(50)) + level + gain
    ratio = 10 * np.log10(energy(background) / energy(target))
    assert ratio == pytest.approx(clamped, abs=1e-2)
    assert np.array_equal(mixture, target + background)
    assert np.abs(mixture).max() <= 1


@given(level=st.floats(-60, 20), gain=st.integers(-15, 10))
def test_exact_ratios_know_no_clamp(level, gain):
    rng = np.random.default_rng(1)
    target = (0.1 * rng.standard_normal(4000)).astype(np.float32)
    background = (target[::-1] * 10 ** (level / 20)).astype(np.float32)
    mixture, target, background = mix_at(target, background, gain)
    assert 10 * np.log10(energy(background) / energy(target)) == pytest.approx(gain, abs=1e-3)
    assert np.array_equal(mixture, target + background)
    assert np.abs(mixture).max() <= 1


def test_loud_mixtures_are_scaled_to_nine_tenths():
    target = np.full(100, 0.8, np.float32)
    mixture, scaled, background = mix(target, target, 0.0)
    assert np.abs(mixture).max() == pytest.approx(0.9, abs=1e-6)
    assert np.allclose(scaled, background)


def test_silence_stays_finite():
    silence = np.zeros(10, np.float32)
    assert np.isfinite(match_energy(silence, silence)).all()
    assert np.isfinite(match_energy(silence, np.ones(10, np.float32))).all()

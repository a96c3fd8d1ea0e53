"""Loudness augmentation as the released code does it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosep_training.data.mixing import (
    add_sources,
    match_energy,
    mix,
    mix_at,
    mix_factors,
    mix_peaks,
)


def energy(signal):
    return float(np.mean(np.square(signal, dtype=np.float64)))


@given(level=st.floats(-60, 40), gain=st.integers(-10, 10))
def test_gain_is_over_the_targets_energy(level, gain):
    rng = np.random.default_rng(1)
    target = (0.1 * rng.standard_normal(4000)).astype(np.float32)
    background = (target[::-1] * 10 ** (level / 20)).astype(np.float32)
    mixture, target, background = mix(target, background, gain)
    # The released code clamps the ratio of amplitudes to 0.02…50 before the gain is applied.
    clamped = level - np.clip(level, 20 * np.log10(0.02), 20 * np.log10(50)) + gain
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


def test_peaks_are_mixed_as_lass_nets_released_code_does(reference):
    values = reference("lass-net-mixing")
    front, noise = (values.arrays[name][0] for name in ("front_in", "noise_in"))
    for name, sound in zip(("mixture", "front", "noise"), mix_peaks(front, noise), strict=True):
        assert sound.dtype == np.float32 and values.error(name, sound) <= 1e-6


@given(
    samples=st.integers(1, 200),
    levels=st.tuples(*[st.sampled_from([0.0, 1e-6, 0.3, 5.0])] * 2),
    gain=st.floats(-30, 30),
)
def test_mixing_peaks_stays_within_full_scale(samples, levels, gain):
    sounds = np.random.default_rng(samples).standard_normal((2, samples)).astype(np.float32)
    mixed = mix_peaks(
        *(np.float32(level) * s for level, s in zip(levels, sounds, strict=True)), gain
    )
    assert all(np.isfinite(sound).all() for sound in mixed)
    assert max(np.abs(sound).max() for sound in mixed) <= 1 + 1e-6
    assert np.array_equal(mixed[0], mixed[1] + mixed[2])


def test_factors_leave_all_else_as_it_is(rng):
    one, other = rng.standard_normal((2, 50)).astype(np.float32)
    mixture, target, background = mix_factors(one, other, (0.5, 2.0))
    assert np.array_equal(target, 0.5 * one) and np.array_equal(background, 2 * other)
    assert np.array_equal(mixture, target + background) and np.abs(mixture).max() > 1


def released_loudnorm(audio, reference, decibels):
    """What the released ``dynamic_loudnorm`` computes, written anew."""
    ratio = np.sqrt(np.mean(audio**2) / max(np.mean(reference**2), 1e-10))
    return 10 ** (decibels / 20) * audio / np.clip(ratio, 0.02, 50)


def test_several_sources_as_in_the_released_code(rng):
    target, *others = (0.1 * rng.standard_normal((4, 1000)) * [[1], [5], [0.01], [1]]).astype(
        np.float32
    )
    gains = [-3, 10, 0]
    noise = sum(
        released_loudnorm(other, target, gain) for other, gain in zip(others, gains, strict=True)
    )
    expected = target + released_loudnorm(noise, target, 4)
    mixture, kept, _ = mix(target, add_sources(others, target, gains), 4)
    scale = min(1.0, 0.9 / np.abs(expected).max()) if np.abs(expected).max() > 1 else 1.0
    assert np.allclose(mixture, expected * scale, atol=1e-6)
    assert np.allclose(kept, target * scale, atol=1e-6)


def test_loud_mixtures_are_scaled_to_nine_tenths():
    target = np.full(100, 0.8, np.float32)
    mixture, scaled, background = mix(target, target, 0.0)
    assert np.abs(mixture).max() == pytest.approx(0.9, abs=1e-6)
    assert np.allclose(scaled, background)


def test_silence_stays_finite():
    silence = np.zeros(10, np.float32)
    assert np.isfinite(match_energy(silence, silence)).all()
    assert np.isfinite(match_energy(silence, np.ones(10, np.float32))).all()

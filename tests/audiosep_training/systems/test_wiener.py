"""The Wiener filter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.signal.metrics import sdr
from audiosep_training.systems.wiener.filter import WienerFilter, wiener_gain

RATE = 16_000


def bursts(seconds):
    """What speech is to a Wiener filter: a harmonic sound that comes and goes."""
    time = np.arange(int(seconds * RATE)) / RATE
    gate = (np.sin(2 * np.pi * 1.5 * time) > 0.2).astype(float)
    return sum(np.sin(2 * np.pi * 150 * n * time) / n for n in range(1, 20)) * gate * 0.1


@pytest.mark.parametrize(("ratio_db", "gain_db"), [(0, 5), (5, 4), (10, 3)])
def test_wiener_removes_steady_noise(ratio_db, gain_db, rng):
    speech = bursts(4)
    noise = rng.standard_normal(len(speech))
    noise *= np.sqrt(np.mean(speech**2) / np.mean(noise**2)) * 10 ** (-ratio_db / 20)
    mixture = (speech + noise).astype(np.float32)[None]
    estimate = WienerFilter().separate(mixture, RATE)
    assert sdr(speech, estimate[0]) > sdr(speech, mixture[0]) + gain_db


def test_wiener_follows_noise_that_rises(rng):
    noise = 0.01 * rng.standard_normal(8 * RATE)
    noise[4 * RATE :] *= 5
    estimate = WienerFilter().separate(noise.astype(np.float32)[None], RATE)[0]
    last = slice(7 * RATE, None)
    assert np.std(estimate[last]) < 0.3 * np.std(noise[last])


def test_wiener_leaves_clean_sound_alone():
    speech = bursts(2).astype(np.float32)[None]
    assert sdr(speech[0], WienerFilter().separate(speech, RATE)[0]) > 25


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(0, 3000),
    channels=st.integers(1, 3),
    rate=st.sampled_from([8_000, 16_000, 44_100]),
    level=st.sampled_from([0.0, 1e-6, 1.0]),
)
def test_wiener_keeps_shape_and_stays_finite(samples, channels, rate, level):
    mixture = level * np.random.default_rng(0).standard_normal((channels, samples))
    estimate = WienerFilter().separate(mixture.astype(np.float32), rate)
    assert estimate.shape == mixture.shape and estimate.dtype == np.float32
    assert np.isfinite(estimate).all()


def test_wiener_gain_is_a_gain(rng):
    gain = wiener_gain(rng.exponential(size=(2, 50, 20)) * rng.exponential(size=(1, 50, 1)) ** 4)
    assert gain.min() >= 0 and gain.max() <= 1

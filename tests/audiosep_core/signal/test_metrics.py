"""Metrics equal the released evaluation's figures."""

import numpy as np
import pytest

from audiosep_core.signal.metrics import sdr, sdr_improvement, si_sdr

REFERENCE_LEVELS = [1, 0.1, 0.01, 0.3, 1, 1e-4]
ESTIMATE_GAINS = [1, 0.5, 2, 0.9, 0, 1]
NOISE_LEVELS = [0.1, 0.05, 0.02, 0.3, 0.2, 1e-5]


def test_reference_values(reference_metrics):
    for row in reference_metrics:
        seed = int(row["seed"])
        rng = np.random.default_rng(seed)
        reference = rng.normal(size=16000).astype(np.float32) * REFERENCE_LEVELS[seed]
        noise = rng.normal(size=16000).astype(np.float32) * NOISE_LEVELS[seed]
        reference = reference.astype(np.float32)
        estimate = (reference * ESTIMATE_GAINS[seed] + noise).astype(np.float32)
        assert sdr(reference, estimate) == pytest.approx(row["sdr"], abs=1e-3)
        assert si_sdr(reference, estimate) == pytest.approx(row["sisdr"], abs=1e-3)


def test_improvement_is_a_difference(rng):
    reference, noise = rng.standard_normal((2, 1000))
    mixture, estimate = reference + noise, reference + 0.1 * noise
    assert sdr_improvement(reference, estimate, mixture) == pytest.approx(20, abs=1e-6)


def test_silence_gives_finite_figures():
    silence = np.zeros(100)
    assert sdr(silence, silence) == 0
    assert np.isfinite(si_sdr(silence, silence))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="equally long"):
        sdr(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="one-dimensional"):
        si_sdr(np.zeros((2, 3)), np.zeros((2, 3)))

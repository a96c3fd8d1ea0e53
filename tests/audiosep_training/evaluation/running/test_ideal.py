"""Ideal masks: as much as masks can do."""

import numpy as np
import pytest

from audiosep_core.files.items import MixtureAndTarget
from audiosep_core.signal.metrics import si_sdr
from audiosep_training.evaluation.running.ideal import IDEALS, Ideal


@pytest.mark.parametrize("name", IDEALS)
@pytest.mark.parametrize("frames", [300, 16_001])
def test_apart_in_frequency_is_apart(name, frames):
    time = np.arange(frames) / 16_000
    low, high = (np.sin(2 * np.pi * hz * time).astype(np.float32) for hz in (400, 5000))
    sounds = MixtureAndTarget(np.stack([low + high, high]), np.stack([low, 0 * low]), 16_000)
    found = Ideal(IDEALS[name]).of(sounds)
    assert found.shape == (2, frames) and found.dtype == np.float32
    assert si_sdr(low, found[0]) > (20 if frames > 1000 else 8)
    assert np.abs(found[1]).max() < 1e-3

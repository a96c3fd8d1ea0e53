"""Composite measures and BSS Eval equal independent implementations."""

import importlib.util

import mir_eval
import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import signal_distortion_ratio

from audiosep_core.files.items import MixtureAndTarget
from audiosep_training.evaluation.measures.bss_eval import bss_sdr
from audiosep_training.evaluation.measures.scores import METRICS, check_metrics, measure
from audiosep_training.evaluation.measures.speech_quality import (
    composite,
    log_likelihood_ratio,
    segmental_snr,
    weighted_slope_distance,
)

# Computed once on the voices of conftest with pysepm-evo 0.1.1, which follows Loizou's program.
INDEPENDENT = {
    16_000: (6.194708305200404, 2.2153647424612712, 18.391286971126174),
    8_000: (6.2391840164031676, 1.816017053084994, 21.01944007961502),
}
INDEPENDENT_OPINIONS = (1.8538680972672166, 2.851527614429742, 1.940994243061946)


@pytest.mark.parametrize("rate", INDEPENDENT)
def test_distances_equal_an_independent_implementation(rate, voices):
    figures = [
        function(*voices(rate), rate)
        for function in (segmental_snr, log_likelihood_ratio, weighted_slope_distance)
    ]
    assert figures == pytest.approx(INDEPENDENT[rate], rel=1e-5)


def test_opinions_equal_an_independent_implementation(speech):
    assert composite(*speech, 16_000, pesq=2.0) == pytest.approx(INDEPENDENT_OPINIONS, rel=1e-5)


def test_a_perfect_estimate_has_the_best_opinions(speech):
    clean = speech[0]
    assert composite(clean, clean, 16_000, pesq=4.64) == (5, 5, 5)
    assert segmental_snr(clean, clean, 16_000) == 35
    assert log_likelihood_ratio(clean, clean, 16_000) == pytest.approx(0, abs=1e-9)
    assert weighted_slope_distance(clean, clean, 16_000) == 0


def test_silence_has_an_opinion(speech):
    silence = np.zeros_like(speech[0])
    assert np.isfinite(composite(speech[0], silence, 16_000, pesq=1.0)).all()


def test_too_short_a_sound_is_said_to_be(speech):
    with pytest.raises(ValueError, match="too short"):
        segmental_snr(speech[0][:100], speech[1][:100], 16_000)


@pytest.mark.parametrize("noise", [0.001, 0.1, 1.0])
def test_bss_eval_equals_mir_eval_and_torchmetrics(noise):
    rng = np.random.default_rng(2)
    reference = rng.standard_normal(16_000)
    # A short filter counts for nothing, so that noise alone remains.
    estimate = np.convolve(reference, [0.8, 0.3, -0.2])[:16_000]
    estimate += noise * rng.standard_normal(16_000)
    ours = bss_sdr(reference, estimate)
    with pytest.warns(FutureWarning):
        theirs = mir_eval.separation.bss_eval_sources(reference[None], estimate[None], False)[0][0]
    assert ours == pytest.approx(theirs, abs=1e-5)
    lightning = signal_distortion_ratio(torch.tensor(estimate), torch.tensor(reference))
    assert ours == pytest.approx(float(lightning), abs=1e-4)


def test_bss_eval_of_silence_is_undefined():
    noise = np.random.default_rng(0).standard_normal(2000)
    assert np.isnan(bss_sdr(np.zeros(2000), noise)) and np.isnan(bss_sdr(noise, np.zeros(2000)))
    assert bss_sdr(noise, 3 * noise) == pytest.approx(100, abs=1)
    with pytest.raises(ValueError, match="equally long"):
        bss_sdr(noise, noise[:-1])


def test_all_metrics_rank_a_clean_estimate_above_a_noisy_one(speech):
    clean, noisy = (audio[None] for audio in speech)
    sounds = MixtureAndTarget(noisy, clean, 16_000)
    # All that need no model.
    names = [name for name in METRICS if name != "clapscore"]
    good = measure(sounds, 0.9 * clean + 0.1 * noisy, names)
    bad = measure(sounds, noisy, names)
    assert list(good) == names
    assert all(good[name] > bad[name] for name in names)
    assert bad["sdri"] == 0 and 1 <= bad["pesq"] <= 4.65 and 0 < bad["stoi"] < 1


def test_measures_of_speech_are_undefined_without_speech():
    silence = np.zeros((1, 32_000), np.float32)
    scores = measure(
        MixtureAndTarget(silence, silence, 16_000), silence, ["sdr", "pesq", "stoi", "csig"]
    )
    assert scores == {"sdr": 0, "pesq": None, "stoi": None, "csig": None}


def test_measures_of_speech_resample(speech):
    import soxr

    clean, noisy = (soxr.resample(audio, 16_000, 48_000)[None] for audio in speech)
    at_48 = measure(MixtureAndTarget(noisy, clean, 48_000), noisy, ["pesq", "stoi"])
    clean, noisy = (audio[None] for audio in speech)
    at_16 = measure(MixtureAndTarget(noisy, clean, 16_000), noisy, ["pesq", "stoi"])
    assert at_48 == pytest.approx(at_16, abs=0.02)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert check_metrics(["sdri", "ssnr", "sdri"]) == ("sdri", "ssnr")
    with pytest.raises(Exception, match=r"pesq needs the package 'pesq'.*audiosep\[cpu,evaluate\]"):
        check_metrics(["pesq"])

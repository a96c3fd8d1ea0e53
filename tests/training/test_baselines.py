"""The comparison systems that work."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.checkpoint import CheckpointError
from training.baselines.lass_net import LassNet
from training.baselines.wiener import WienerFilter, wiener_gain
from training.checkpoints import LAST
from training.metrics import sdr
from training.query_encoders.bert import Bert
from training.run import train

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


LASS = [
    "mask=magnitude", "optimiser.loss=magnitude", "query.encoder=bert", "query.tune=true",
    "network.condition_size=16", "network.projection=16", "network.magnitude_scale=linear",
    "optimiser.ema=0.0",
]  # fmt: skip


@pytest.fixture(scope="module")
def lass(clip_list, bert, tiny, tmp_path_factory):
    run = tmp_path_factory.mktemp("lass")
    fields = [f"data.lists={json.dumps([str(clip_list)])}", f"query.checkpoint={bert}"]
    train(tiny(*LASS, *fields, "run.steps=25", "run.log_every=5"), run)
    return run


def test_lass_net_trains(lass, bert):
    losses = [json.loads(line)["loss"] for line in (lass / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]
    state = torch.load(lass / LAST, weights_only=True)["state_dict"]
    for name, value in Bert(bert).state_dict().items():
        assert not torch.equal(value, state[f"query.{name}"]) or not value.dtype.is_floating_point


def test_lass_net_separates_as_trained(lass, bert, rng):
    system = LassNet(lass / LAST, bert)
    mixture = (0.1 * rng.standard_normal((2, 16_001))).astype(np.float32)
    one, other = (system.separate(mixture, 44_100, text) for text in ("tone number 3", "rain"))
    assert one.shape == mixture.shape and one.dtype == np.float32
    assert not np.allclose(one, other, atol=1e-5)
    # A magnitude mask in 0…1 never adds; the same mask on both channels keeps their ratio.
    assert np.mean(one**2) < np.mean(mixture**2)
    same = np.stack([mixture[0], 0.5 * mixture[0]])
    left, right = system.separate(same, 32_000, "rain")
    assert np.allclose(0.5 * left, right, atol=1e-6)
    assert system.separate(mixture[:, :50], 32_000, "rain").shape == (2, 50)
    assert system.separate(mixture[:, :0], 32_000, "rain").shape == (2, 0)


def test_lass_net_needs_its_own_bert(lass, tmp_path):
    with pytest.raises(CheckpointError, match="holds no BERT"):
        LassNet(lass / LAST, tmp_path)

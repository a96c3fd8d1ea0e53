"""Streaming networks in training: learned, stopped, gone on with, averaged."""

import json

import numpy as np
import pytest
import torch

from audiosep_core.model.checkpoint import load_weights, network_weights, read_checkpoint
from audiosep_core.model.streaming_config import LIVE, MINI, StreamingConfig
from audiosep_core.model.streaming_network import StreamingNetwork
from audiosep_core.model.waveform_network import Separated, WaveformNetwork
from audiosep_training.config.files import load_config
from audiosep_training.config.schema import ConfigError
from audiosep_training.mixer.chance import Chance
from audiosep_training.mixer.sounds import SAMPLE_RATE
from audiosep_training.run.checkpoints import LAST
from audiosep_training.run.log import LOG
from audiosep_training.run.losses import log_spectral_loss
from audiosep_training.run.streaming import average_weights, make_optimiser, step_loss
from audiosep_training.run.train import train

SAMPLES = SAMPLE_RATE // 2


def weights(run):
    """Shipped and current weights, memory included, and the optimiser's state."""
    content = torch.load(run / LAST, weights_only=True)
    found = [*content["state_dict"].values(), *content["current_model_state"].values()]
    for state in content["optimizer_states"][0]["state"].values():
        found += [value for value in state.values() if torch.is_tensor(value)]
    return found


def log(run):
    return [json.loads(line) for line in (run / LOG).read_text().splitlines()]


def test_a_corpus_is_learned(corpus, streaming, tmp_path):
    config = streaming(
        f"data.corpus={corpus}", "run.steps=60", "run.log_every=20", "run.validate_every=60",
        "optimiser.decay_steps=20",
    )  # fmt: skip
    assert train(config, tmp_path) is None
    *steps, validated = log(tmp_path)
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.05
    assert np.isfinite(validated["sdri"])
    content = read_checkpoint(tmp_path / LAST)
    net = StreamingNetwork(StreamingConfig.from_dict(content["config"]))
    load_weights(net, network_weights(content))


def test_a_resumed_run_equals_an_uninterrupted_one(corpus, streaming, tmp_path):
    place = f"data.corpus={corpus}"
    train(streaming(place), tmp_path / "whole")
    # The schedule looks at all steps, so the run is cut by its end, not by its length.
    train(streaming(place, "run.checkpoint_every=3", "run.keep_every=3"), tmp_path / "parts")
    (tmp_path / "parts" / "step-00000003.ckpt").replace(tmp_path / "parts" / LAST)
    train(streaming(place), tmp_path / "parts")
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert len(one) == len(other) and all(map(torch.equal, one, other))
    content = torch.load(tmp_path / "whole" / LAST, weights_only=True)
    assert content["current_model_state"]["past"].abs().max() > 0


@pytest.mark.parametrize("name", ["mini", "live"])
def test_the_recipes_that_ship(name):
    config = load_config(name)
    network = {"mini": MINI, "live": LIVE}[name]
    assert config.network == network and config.streaming
    assert SAMPLE_RATE % network.frame_rate == 0
    assert (
        config.data.segment_samples % (network.hop_length(SAMPLE_RATE) * network.step_frames) == 0
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["optimiser.loss=log"], "optimiser.loss must be one of log-spectral"),
        (["run.strategy=fsdp", "optimiser.ema=0"], "run.strategy"),
        (["network.n_fft=512"], "n_fft is no known field"),
        (["network.look_ahead=0.5"], "network"),
    ],
)
def test_what_does_not_fit_a_streaming_network(changes, message, streaming):
    with pytest.raises(ConfigError, match=message):
        streaming(*changes)


def test_what_a_streaming_network_cannot_be_trained_on(corpus, clip_list, streaming, tmp_path):
    with pytest.raises(ConfigError, match="trained on a corpus"):
        train(streaming(f'data.lists=["{clip_list}"]'), tmp_path)
    with pytest.raises(ConfigError, match="must be even"):
        train(streaming(f"data.corpus={corpus}", "data.batch=3"), tmp_path)
    with pytest.raises(ConfigError, match=r"data\.workers = 0"):
        train(streaming(f"data.corpus={corpus}", "data.workers=1"), tmp_path)


@pytest.fixture(scope="module")
def separator(streaming):
    torch.manual_seed(0)
    return WaveformNetwork(StreamingNetwork(streaming().network), SAMPLE_RATE)


def examples(seed):
    generator = torch.Generator().manual_seed(seed)
    target, rest = (torch.randn(2, SAMPLES, generator=generator) for _ in range(2))
    return target + rest, target


def loss_of(separator, estimate, mixture, target, bandwidth=torch.inf):
    spectra = separator.spectra(estimate)
    separated = Separated(separator.waveform(spectra), spectra, torch.zeros(2, 8))
    limits = torch.full((2,), float(bandwidth))
    return log_spectral_loss(separator, separated, mixture, target, limits)


def test_the_loss_is_lowest_for_the_target(separator):
    mixture, target = examples(0)
    losses = [
        loss_of(separator, target + share * (mixture - target), mixture, target)
        for share in (0.0, 0.1, 1.0)
    ]
    values = [found.loss for found in losses]
    assert values[0] < values[1] < values[2]
    assert losses[0].present.all()
    np.testing.assert_allclose(losses[1].sdri, 20, atol=0.5)
    np.testing.assert_allclose(losses[2].sdri, 0, atol=0.01)


def test_silence_is_best_where_the_target_is_absent(separator):
    mixture, _ = examples(1)
    absent = torch.zeros_like(mixture)
    losses = [loss_of(separator, share * mixture, mixture, absent) for share in (0.0, 0.1, 1.0)]
    values = [found.loss for found in losses]
    assert values[0] < values[1] < values[2] and not losses[0].present.any()
    # A mixture of nothing teaches nothing.
    nothing = loss_of(separator, absent, absent, absent)
    assert float(nothing.loss) == 0


@pytest.mark.parametrize("gain", [1e-3, 1e2])
def test_the_loss_does_not_depend_on_gain(separator, gain):
    mixture, target = examples(2)
    estimate = target + 0.2 * (mixture - target)
    one = loss_of(separator, estimate, mixture, target).loss
    other = loss_of(separator, gain * estimate, gain * mixture, gain * target).loss
    assert float(one) == pytest.approx(float(other), abs=1e-3)


def test_above_the_bandwidth_nothing_counts(separator):
    mixture, target = examples(3)
    time = torch.arange(SAMPLES) / SAMPLE_RATE
    hiss = torch.sin(2 * torch.pi * 9000 * time)
    plain, spoilt = (
        [float(loss_of(separator, each, mixture, target, limit).loss) for limit in (3800, "inf")]
        for each in (target, target + hiss)
    )
    assert spoilt[0] == pytest.approx(plain[0], abs=0.02)
    assert spoilt[1] > plain[1] + 0.5


def test_a_step_is_a_function_of_its_chance(separator):
    mixture, target = examples(4)
    condition, past = torch.randn(2, 384), torch.randn(2, 8)

    def step(number, past):
        separator.net.eval()
        limits = torch.full((2,), torch.inf)
        with torch.no_grad():
            found, after = step_loss(
                separator, mixture, target, condition, limits, past,
                Chance(torch.device("cpu"), number),
            )  # fmt: skip
        return float(found.loss), after

    first, after = step(1, past)
    assert (first, after.tolist()) == (step(1, past)[0], step(1, past)[1].tolist())
    assert after.shape == past.shape and after.isfinite().all()
    # Levels and memories are drawn.
    assert len({step(number, past)[0] for number in range(6)}) > 3
    assert any(step(n, past)[0] != step(n, torch.zeros(2, 8))[0] for n in range(6))


def test_norms_and_biases_do_not_decay(separator, streaming):
    decayed, kept = make_optimiser(separator.net.parameters(), streaming().optimiser).param_groups
    assert decayed["weight_decay"] == 0.01 and kept["weight_decay"] == 0
    assert all(each.ndim > 1 for each in decayed["params"])
    assert all(each.ndim <= 1 for each in kept["params"])


def test_the_average_forgets_its_first_weights_soon():
    update = average_weights(0.99)
    averaged, count = torch.zeros(1), torch.full((1,), 3)
    for step in range(1, 40):
        update([averaged], [torch.ones(1)], step)
    assert float(averaged) > 0.99
    update([count], [torch.full((1,), 7)], 5)
    assert int(count) == 7

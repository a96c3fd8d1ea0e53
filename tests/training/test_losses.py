"""Losses and learning rates."""

import pytest
import torch

from audiosep_core.network import build_network
from training.losses import LOSSES, log_loss, magnitude_loss, waveform_loss
from training.schedule import rate_at


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_lowest_for_the_target(name, tiny):
    net = build_network(tiny().network)
    target = torch.randn(2, 1, 1000, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 1, 1000, generator=torch.Generator().manual_seed(1))
    values = [LOSSES[name](net, target + much * noise, target) for much in (0.0, 0.1, 1.0)]
    assert values[0] < values[1] < values[2]


def test_what_the_losses_are(tiny):
    net = build_network(tiny().network)
    target, estimate = torch.full((2, 1, 800), 0.5), torch.full((2, 1, 800), 0.25)
    assert waveform_loss(net, estimate, target) == pytest.approx(0.25)
    # The same relative error counts the same at every level.
    quiet = log_loss(net, estimate / 100, target / 100)
    assert log_loss(net, estimate, target) == pytest.approx(float(quiet), abs=1e-6)
    # A magnitude has no sign.
    assert magnitude_loss(net, -target, target) == pytest.approx(0, abs=1e-6)


def test_the_released_stairs(tiny):
    optimiser = tiny(
        "optimiser.schedule=stairs", "optimiser.warmup_steps=10000", "optimiser.rate=1e-3"
    ).optimiser
    steps = (0, 9_999, 10_000, 19_999, 20_000, 29_999, 30_000, 10**6)
    rates = [rate_at(step, optimiser, 10**7) for step in steps]
    assert rates == pytest.approx([1e-6, 1e-6, 1e-5, 1e-5, 1e-4, 1e-4, 1e-3, 1e-3])


def test_linear_rise_and_fall(tiny):
    optimiser = tiny(
        "optimiser.warmup_steps=100", "optimiser.decay_steps=200", "optimiser.rate=1.0"
    ).optimiser
    rates = [rate_at(step, optimiser, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01) and rates[99] == rates[500] == 1.0
    assert rates[900] == pytest.approx(0.5) and rates[-1] == pytest.approx(0.005)
    assert rate_at(0, tiny("optimiser.warmup_steps=0").optimiser, 10) == 2e-3

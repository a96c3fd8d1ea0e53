"""Losses and learning rates."""

import pytest
import torch

from audiosep_training.run.losses import LOSSES, log_loss, waveform_loss
from audiosep_training.run.schedule import rate_at


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_lowest_for_the_target(name):
    target = torch.randn(2, 1, 1000, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 1, 1000, generator=torch.Generator().manual_seed(1))
    values = [LOSSES[name](target + much * noise, target) for much in (0.0, 0.1, 1.0)]
    assert values[0] < values[1] < values[2]


def test_what_the_losses_are():
    target, estimate = torch.full((2, 1, 800), 0.5), torch.full((2, 1, 800), 0.25)
    assert waveform_loss(estimate, target) == pytest.approx(0.25)
    # The same relative error counts the same at every level.
    quiet = log_loss(estimate / 100, target / 100)
    assert log_loss(estimate, target) == pytest.approx(float(quiet), abs=1e-6)


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


def test_clipsep_falls_to_a_tenth_and_stays(tiny):
    optimiser = tiny(
        "optimiser.warmup_steps=50", "optimiser.lowest=0.1", "optimiser.lowest_at=1050",
        "optimiser.rate=1.0",
    ).optimiser  # fmt: skip
    rates = [rate_at(step, optimiser, 2000) for step in (0, 49, 50, 550, 1050, 1999)]
    assert rates == pytest.approx([0.02, 1.0, 1.0, 0.55, 0.1, 0.1])


def test_the_cosine_is_level_at_both_ends(tiny):
    chosen = tiny(
        "optimiser.schedule=cosine", "optimiser.warmup_steps=4", "optimiser.decay_steps=100",
        "optimiser.rate=1.0",
    ).optimiser  # fmt: skip
    rates = [rate_at(step, chosen, 200) for step in range(201)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0] and rates[100] == 1
    assert rates[150] == pytest.approx(0.5) and rates[200] == 0
    assert rates[101] > 0.999 and rates[199] < 0.001

"""CLIPSep and CLIPSep-NIT compute what the released code computes, and learn."""

import numpy as np
import pytest
import torch

from audiosep_training.systems import build_system
from audiosep_training.systems.clipsep.log_frequency import to_bins, to_log_rows
from audiosep_training.systems.clipsep.losses import clipsep_loss, ideal_masks

BOTH = pytest.mark.parametrize("name", ["clipsep", "clipsep-nit"])
SMALL = (4, 4, 4, 4, 4, 4, 4)


@pytest.fixture(scope="module")
def released(filled):
    return {name: filled(build_system(name)) for name in ("clipsep", "clipsep-nit")}


@pytest.fixture(scope="module")
def values(reference):
    return reference("clipsep")


@pytest.fixture(scope="module")
def sources(values):
    return values["sources"][None]


@pytest.fixture(scope="module")
def conditions(values):
    return values["embeddings"].transpose(0, 1)


@BOTH
def test_names_are_the_released_ones(name, released, names, shapes):
    assert shapes(released[name]) == names(f"{name}-keys")


@BOTH
@torch.no_grad()
def test_equals_the_released_code(name, released, values, sources, conditions):
    net, mixture, condition = released[name], sources.sum(1), conditions[:, 0]
    mask = net.mask(mixture, condition)
    assert values.error("mask", mask) <= 1e-5
    assert values.error("linear_mask", to_bins(mask, 513)) <= 1e-5
    # The released code gives whole hops.
    for kind in ("soft", "binary"):
        net.binary = kind == "binary"
        target = net.separate(mixture, condition)
        assert target.shape == mixture.shape
        assert values.error(f"separated_{kind}", target[:, : 127 * 256]) <= 1e-5


@torch.no_grad()
def test_loss_equals_the_released_code(released, values, sources, conditions):
    net = released["clipsep"]
    assert values.error("loss", clipsep_loss(net, sources, conditions)) <= 1e-5
    ideal = ideal_masks(net, sources, net.hear(sources.sum(1))[0])
    packed = np.packbits(ideal[0, 0].numpy().astype(bool))
    assert np.array_equal(packed, values["gt_mask_0"].numpy())


@torch.no_grad()
def test_noise_invariant_loss_equals_the_released_code(released, values, sources, conditions):
    net = released["clipsep-nit"]
    # Saturated bins dominate it.
    assert values.error("nit_loss", clipsep_loss(net, sources, conditions)) <= 1e-3
    _, features = net.hear(sources.sum(1))
    assert values.error("pit_masks", net.noise_logits(features, conditions[:, :1])) <= 1e-5


def test_frequencies_come_back():
    """A smooth spectrum survives the way to logarithmic rows and back."""
    bins = torch.cos(torch.linspace(0, 6, 513))[None, None, :, None].expand(1, 1, 513, 4)
    back = to_bins(to_log_rows(bins), 513)
    assert torch.allclose(back, bins, atol=0.01)


@pytest.mark.parametrize("samples", [0, 1, 300, 33_000])
def test_any_length_separates(samples):
    net = build_system("clipsep", widths=SMALL).eval()
    with torch.no_grad():
        target = net.separate(torch.randn(2, samples), torch.randn(2, 512))
    assert target.shape == (2, samples) and torch.isfinite(target).all()


@BOTH
def test_training_lowers_its_loss(name):
    net = build_system(name, widths=SMALL)
    time = torch.arange(32_767) / 16_000
    pair = torch.stack([torch.sin(2 * torch.pi * hertz * time) for hertz in (300, 5000)])
    pair = 0.2 * pair[None] + 1e-3 * torch.randn(1, 2, 32_767)
    conditions = torch.randn(1, 2, 512)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = clipsep_loss(net, pair, conditions)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]

"""LASS-Net computes what the released code computes, and learns."""

import pytest
import torch

from audiosep_training.systems import build_system

SMALL = {
    "widths": (4, 4, 4, 6, 6, 6),
    "bert": {
        "vocab_size": 20,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    },
}


@pytest.fixture(scope="module")
def released(filled):
    return filled(build_system("lass-net"))


@torch.no_grad()
def test_names_are_the_released_ones(released, names, shapes):
    assert shapes(released) == names("lass-net-keys")


@torch.no_grad()
def test_equals_the_released_code(released, reference):
    values = reference("lass-net")
    embedding = released.embed(values["input_ids"], values["attention_mask"])
    assert values.error("text_embedding", embedding) <= 1e-5
    magnitude = released.spectra.analyse(values["waveform"]).abs()
    assert values.error("magnitude", magnitude.transpose(1, 2)) <= 1e-5
    condition = values["text_embedding"][:1]
    assert values.error("mask", released.mask(magnitude, condition)) <= 1e-5
    target = released.separate(values["waveform"], condition)
    # The released code drops what does not fill a hop.
    assert values.error("separated", target[:, : 40_000 // 512 * 512]) <= 1e-5


@pytest.mark.parametrize("samples", [0, 1, 511, 513, 20_000])
def test_any_length_separates(samples):
    net = build_system("lass-net", **SMALL).eval()
    with torch.no_grad():
        target = net.separate(torch.randn(2, samples), torch.randn(2, 8))
    assert target.shape == (2, samples) and torch.isfinite(target).all()


def test_training_lowers_its_loss():
    """Two captions, each of which asks for one of the two sounds in a mixture."""
    net = build_system("lass-net", **SMALL)
    time = torch.arange(16_000) / 32_000
    tone = torch.sin(2 * torch.pi * 3000 * time)
    bursts = torch.randn(16_000) * (torch.sin(2 * torch.pi * 8 * time) > 0.6)
    pair = torch.stack([tone, bursts])
    target = pair / pair.abs().amax(1, keepdim=True)
    mixture = target.sum(0).expand(2, -1)
    tokens, seen = torch.tensor([[2, 5, 6], [2, 7, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = net.loss(mixture, target, net.embed(tokens, seen))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]

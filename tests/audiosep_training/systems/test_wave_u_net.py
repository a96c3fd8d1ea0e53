"""Wave-U-Net computes what the released code computes, and learns."""

import zlib

import numpy as np
import pytest
import torch

from audiosep_training.systems import build_system

LAYERS = pytest.mark.parametrize("layers", [9, 12])


def variables(shapes, seed=42):
    arrays = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        spread = 0.1 if len(shape) == 1 else np.sqrt(1 / np.prod(shape[:-1]))
        arrays[name] = rng.normal(0, spread, shape).astype(np.float32)
    return arrays


@LAYERS
@torch.no_grad()
def test_equals_the_released_code(layers, reference, names):
    net = build_system("wave-u-net", layers=layers).eval()
    shapes = {name: list(shape) for name, shape in net.tensorflow_shapes().items()}
    assert shapes == names(f"wave-u-net-{layers}-variables")
    net.load_tensorflow(variables(shapes))
    values = reference(f"wave-u-net-{layers}")
    noisy = values["noisy"].transpose(1, 2)
    sources = net(noisy)
    assert values.error("noise", sources[:, 0]) <= 1e-5
    assert values.error("speech", sources[:, 1]) <= 1e-5
    assert values.error("speech", net.separate(noisy[:, 0], None)) <= 1e-5


def test_checkpoints_as_tensorflow_names_them_load():
    net = build_system("wave-u-net", layers=2, width=2)
    arrays = variables(net.tensorflow_shapes())
    saved = {name.removesuffix(":0"): array for name, array in arrays.items()}
    net.load_tensorflow({**saved, "global_step": np.zeros(())})
    with torch.no_grad():
        one = net(torch.ones(1, 1, 64))
        net.load_tensorflow(arrays)
        assert torch.equal(net(torch.ones(1, 1, 64)), one)
    before = net.state_dict()["speech.bias"].clone()
    missing = {name: array + 1 for name, array in arrays.items() if "conv1d_1/" not in name}
    with pytest.raises(ValueError, match=r"separator/conv1d_1/kernel:0 is missing"):
        net.load_tensorflow(missing)
    with pytest.raises(ValueError, match=r"conv1d/bias:0 has the shape \(7,\), not \(2,\)"):
        net.load_tensorflow({**arrays, "separator/conv1d/bias:0": np.zeros(7)})
    assert torch.equal(net.state_dict()["speech.bias"], before)


@pytest.mark.parametrize("samples", [0, 1, 16_384, 16_385, 40_000])
def test_any_length_separates(samples):
    net = build_system("wave-u-net", layers=3, width=2).eval()
    mixture = torch.randn(2, samples)
    with torch.no_grad():
        speech = net.separate(mixture, None)
        if samples >= 16_384:
            # Windows follow each other; the last ends with the sound.
            assert torch.equal(speech[:, -16_384:], net(mixture[:, None, -16_384:])[:, 1])
    assert speech.shape == mixture.shape and torch.isfinite(speech).all()


def test_impossible_layers():
    with pytest.raises(ValueError, match=r"layers must be in 1…14, not 15"):
        build_system("wave-u-net", layers=15)


def test_training_lowers_its_loss():
    net = build_system("wave-u-net", layers=4, width=4)
    time = torch.arange(16_384) / 16_000
    speech = 0.5 * torch.sin(2 * torch.pi * torch.tensor([[200.0], [300.0]]) * time)
    noise = 0.2 * torch.randn(2, 16_384)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        loss = net.loss(noise, speech)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]

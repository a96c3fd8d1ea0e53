"""SEGAN and SEGAN+ compute what the released code computes, and learn."""

import pytest
import torch
from torch.nn import functional as F

from audiosep_training.systems import build_system
from audiosep_training.systems.segan.losses import discriminator_loss, generator_loss
from audiosep_training.systems.segan.network import (
    Discriminator,
    Segan,
    Shape,
    de_emphasis,
    pre_emphasis,
)
from audiosep_training.systems.segan.strided import StridedConv1d, StridedConvTranspose1d

SLOPES = ("act.weight", "fc.1.weight", "fc.3.weight")
BOTH = pytest.mark.parametrize(
    ("name", "values_name"), [("segan", "segan-2017-shape"), ("segan-plus", "segan-plus")]
)
SMALL = Shape((4, 8, 8, 8, 8), 4, False, (8,))


@BOTH
@torch.no_grad()
def test_equals_the_released_code(name, values_name, filled, reference, names, shapes):
    values = reference(values_name)
    net = filled(build_system(name), slopes=SLOPES)
    assert shapes(net) == names(f"{values_name}-generator-keys")
    enhanced = net.generate(values["noisy"], values["z"])
    assert values.error("enhanced", enhanced) <= 1e-5
    judge = filled(net.discriminator(), slopes=SLOPES)
    assert shapes(judge) == names(f"{values_name}-discriminator-keys")
    assert values.error("logit", judge(enhanced, values["noisy"])) <= 1e-5


@pytest.mark.parametrize(("stride", "cut"), [(2, 14), (4, 13)])
@pytest.mark.parametrize("threads", [1, 2])
def test_strided_convolutions_equal_pytorchs_in_double_precision(stride, cut, threads):
    """PyTorch's own, in single precision and with two threads, do not on some CPUs."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        up = StridedConvTranspose1d(256, 64, 31, stride=stride, padding=cut)
        down = StridedConv1d(64, 256, 31, stride=stride)
        x = torch.randn(4, 256, 16, requires_grad=True)
        y = up(x)
        z = down(F.pad(y, (14, 15), mode="reflect"))
        z.square().sum().backward()
    finally:
        torch.set_num_threads(before)
    weights = [x, up.weight, up.bias, down.weight, down.bias]
    x64, *w64 = (weight.detach().double().requires_grad_() for weight in weights)
    y64 = F.conv_transpose1d(x64, w64[0], w64[1], stride=stride, padding=cut)[..., :-1]
    z64 = F.conv1d(F.pad(y64, (14, 15), mode="reflect"), w64[2], w64[3], stride=stride)
    z64.square().sum().backward()
    assert torch.allclose(y.double(), y64, atol=1e-5) and torch.allclose(z.double(), z64, atol=1e-4)
    for mine, theirs in zip(weights, (x64, *w64), strict=True):
        assert torch.allclose(mine.grad.double(), theirs.grad, rtol=1e-3, atol=1e-3)


def test_emphasis_comes_back():
    audio = torch.randn(2, 30_000)
    assert torch.allclose(de_emphasis(pre_emphasis(audio)), audio, atol=1e-5)


@pytest.mark.parametrize("samples", [0, 1, 16_384, 20_000])
def test_any_length_separates_and_the_same_each_time(samples):
    net = Segan(SMALL).eval()
    mixture = 0.1 * torch.randn(2, samples)
    with torch.no_grad():
        speech = net.separate(mixture, None)
        assert torch.equal(net.separate(mixture, None), speech)
    assert speech.shape == mixture.shape and torch.isfinite(speech).all()


def test_training_lowers_the_error():
    net, judge = Segan(SMALL), Discriminator(SMALL)
    time = torch.arange(16_384) / 16_000
    clean = 0.5 * torch.sin(2 * torch.pi * torch.tensor([[[200.0]], [[300.0]]]) * time)
    noisy = clean + 0.2 * torch.randn(2, 1, 16_384)
    clean, noisy = pre_emphasis(clean), pre_emphasis(noisy)
    players = [torch.optim.RMSprop(player.parameters(), 2e-3) for player in (judge, net)]
    errors, verdicts = [], []
    for _ in range(60):
        enhanced = net.generate(noisy, torch.randn(2, *SMALL.code))
        loss = discriminator_loss(judge(clean, noisy), judge(enhanced.detach(), noisy))
        verdicts.append(loss.item())
        players[0].zero_grad()
        loss.backward()
        players[0].step()
        loss = generator_loss(judge(enhanced, noisy), enhanced, clean)
        players[1].zero_grad()
        loss.backward()
        players[1].step()
        errors.append(F.l1_loss(enhanced, clean).item())
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])
    assert min(verdicts) < 0.7 * verdicts[0]


def test_losses_are_least_where_each_player_wins():
    one, zero = torch.ones(3, 1), torch.zeros(3, 1)
    sound = torch.randn(3, 1, 10)
    assert discriminator_loss(one, zero) == 0 and discriminator_loss(zero, one) == 2
    assert generator_loss(one, sound, sound) == 0
    assert torch.isclose(generator_loss(zero, sound, sound + 0.1), torch.tensor(1 + 10.0))

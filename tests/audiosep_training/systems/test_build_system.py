"""One way to every system."""

import pytest
import torch

from audiosep_training.systems import SYSTEMS, build_system
from audiosep_training.systems.base import System
from audiosep_training.systems.segan.network import Shape

#: Sizes that a test has time for.
SMALL = {
    "lass-net": {
        "widths": (4, 4, 4, 4, 4, 4),
        "bert": {
            "vocab_size": 9,
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 8,
        },
    },
    "clipsep": {"widths": (4,) * 7},
    "clipsep-nit": {"widths": (4,) * 7},
    "uss-resunet30": {"widths": (4,) * 6},
    "uss-resunet60": {"widths": (4,) * 6},
    "segan": {"shape": Shape((4,) * 5, 4, True, ())},
    "segan-plus": {"shape": Shape((4,) * 5, 4, False, (4,))},
    "wave-u-net": {"layers": 2, "width": 2},
    "audioset-unet": {"widths": (4, 4)},
}


@pytest.fixture(params=SYSTEMS)
def system(request):
    return build_system(request.param, **SMALL.get(request.param, {})).eval()


@torch.no_grad()
def test_every_system_separates(system):
    assert isinstance(system, System) and isinstance(system.sample_rate, int)
    mixture = 0.1 * torch.randn(2, 9001)
    size = system.condition_size
    target = system.separate(mixture, torch.randn(2, size) if size else None)
    assert target.shape == mixture.shape and target.dtype == torch.float32
    assert torch.isfinite(target).all() and not torch.equal(target, mixture)


def test_conditions_are_checked(system):
    mixture = torch.zeros(1, 10)
    if not system.condition_size:
        assert system.separate(mixture, None).shape == mixture.shape
        return
    with pytest.raises(ValueError, match="asked by a condition of"):
        system.separate(mixture, None)
    with pytest.raises(ValueError, match=r"the condition has 3 values, not"):
        system.separate(mixture, torch.zeros(1, 3))


def test_unknown_names_and_options():
    with pytest.raises(ValueError, match="no system is called 'demucs'; known: lass-net, clipsep"):
        build_system("demucs")
    with pytest.raises(TypeError, match="colour"):
        build_system("clipsep", colour="red")

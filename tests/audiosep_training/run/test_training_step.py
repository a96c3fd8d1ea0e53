"""A training step of the network equals that of the released code."""

import pytest

from audiosep_core.model.network import build_network


@pytest.mark.parametrize("name", ["step-whole", "step-padded"])
def test_training_step_equals_the_released_code(name, filled, reference):
    """Loss, gradients and statistics, where frames fill the last cell and where they do not."""
    values = reference(f"audiosep-{name}")
    net = filled(build_network("audiosep-base")).train()
    waveform = net(values["mixture"], values["condition"])
    loss = (waveform - values["target"]).abs().mean()
    loss.backward()
    assert values.error("loss", loss) <= 1e-5
    assert values.error("waveform", waveform) <= 1e-5
    assert values.error("bn0_running_mean", net.base.bn0.running_mean) <= 1e-5
    assert values.error("bn0_running_var", net.base.bn0.running_var) <= 1e-5
    compared = 0
    for key in values.arrays:
        if key.startswith("grad:"):
            full = key.partition("@")[0]
            path = full.removeprefix("grad:")
            gradient = net.get_parameter(path).grad
            # Gradients that nearly cancel: in double precision both codes differ from this by
            # as much.
            bound = 5e-3 if gradient.abs().max() < 2e-4 else 1e-3
            assert values.error(full, gradient) <= bound, path
            compared += 1
    assert compared == 9

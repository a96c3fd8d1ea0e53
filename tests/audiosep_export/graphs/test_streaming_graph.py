import numpy as np
import pytest
import torch

from audiosep_core.model.streaming_network import Memory


@pytest.fixture(scope="module")
def given(streaming_net):
    rng = np.random.default_rng(5)
    magnitude = np.exp(rng.normal(size=(48, streaming_net.config.bins))).astype(np.float32)
    return magnitude, rng.normal(size=(2, streaming_net.config.condition_size)).astype(np.float32)


@pytest.fixture(scope="module")
def whole(streaming_net, given):
    magnitude, conditions = given
    frames = torch.from_numpy(magnitude)[None, None].expand(2, -1, -1, -1)
    with torch.no_grad():
        return streaming_net(frames, torch.from_numpy(conditions)).numpy()


@pytest.mark.parametrize("cuts", [(), (2,), (2, 4, 6, 30), tuple(range(2, 48, 2))])
def test_any_chunking_gives_what_one_pass_of_pytorch_gives(step_network, given, whole, cuts):
    magnitude, conditions = given
    state = step_network.start(conditions)
    parts = []
    for start, end in zip((0, *cuts), (*cuts, 48), strict=True):
        masks, state = step_network.step(magnitude[start:end], state)
        parts.append(masks)
    np.testing.assert_allclose(np.concatenate(parts, 2), whole, atol=1e-5)


def test_pytorch_itself_streams(streaming_net, given, whole):
    magnitude, conditions = given
    memory, parts = None, []
    for start in range(0, 48, 6):
        frames = torch.from_numpy(magnitude[start : start + 6])[None, None].expand(2, -1, -1, -1)
        step = Memory(memory)
        with torch.no_grad():
            parts.append(streaming_net(frames, torch.from_numpy(conditions), step).numpy())
        memory = step.after
    np.testing.assert_allclose(np.concatenate(parts, 2), whole, atol=1e-5)


def test_a_mask_sees_the_look_ahead_and_no_further(step_network, given):
    magnitude, conditions = given
    changed = magnitude.copy()
    changed[30:] *= 3
    masks = [
        step_network.step(each, step_network.start(conditions))[0] for each in (magnitude, changed)
    ]
    # Row t belongs to the frame look_ahead before frame t, and knows nothing behind frame t.
    assert np.array_equal(masks[0][:, :, :30], masks[1][:, :, :30])
    assert np.abs(masks[0][:, :, 30:32] - masks[1][:, :, 30:32]).max() > 1e-4


def test_mask_is_a_gain_and_a_rotation(whole):
    assert 0 <= whole[:, 0].min() < whole[:, 0].max() <= 1
    np.testing.assert_allclose(np.hypot(whole[:, 1], whole[:, 2]), 1, atol=1e-5)

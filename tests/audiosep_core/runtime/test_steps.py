"""A streaming network in ONNX Runtime: prepared or not, shared or not, the same to the bit."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import audiosep_core.runtime.calls
from audiosep_core.runtime.prepared import PreparedCall


@pytest.fixture
def frames(step_network):
    config = step_network.config
    rng = np.random.default_rng(2)
    return np.abs(rng.standard_normal((6, config.step_frames, config.bins))).astype(np.float32)


@pytest.fixture(autouse=True)
def nothing_prepared(step_network, monkeypatch):
    monkeypatch.setattr(step_network._calls, "_prepared", {})


def run(network, frames, rows):
    """Masks of all steps, and the states after them."""
    conditions = np.random.default_rng(rows).standard_normal((rows, 6)).astype(np.float32)
    state, masks, states = network.start(conditions), [], []
    for frame in frames:
        mask, state = network.step(frame, state)
        masks.append(mask)
        states.append(state)
    return masks, states


@pytest.mark.parametrize("rows", [1, 3])
def test_prepared_steps_give_the_same_to_the_bit(step_network, frames, rows):
    masks, states = run(step_network, frames, rows)
    step_network.prepare(rows, len(frames[0]))
    step_network.prepare(rows, len(frames[0]))
    assert list(step_network._calls._prepared) == [(rows, len(frames[0]))]
    found, after = run(step_network, frames, rows)
    # Compared at the end: what was returned is not overwritten by later steps.
    for one, other in zip(found, masks, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(after, states, strict=True):
        for name, tensor in other.tensors.items():
            np.testing.assert_array_equal(one.tensors[name], tensor)


def test_threads_share_a_network(step_network, frames):
    step_network.prepare(1, len(frames[0]))
    expected, _ = run(step_network, frames, 1)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: run(step_network, frames, 1)[0], range(12)))
    for masks in found:
        np.testing.assert_array_equal(masks, expected)


def test_a_call_too_large_to_keep_is_not_prepared(step_network):
    step_network.prepare(2, 512)
    assert not step_network._calls._prepared


def test_without_a_capture_it_runs_all_the_same(step_network, frames, monkeypatch):
    """As on a GPU where a node of the graph cannot be captured."""
    expected, _ = run(step_network, frames, 1)
    session, opened, warm_up = step_network._calls._session, [], PreparedCall.warm_up

    def failing(call):
        if not opened:
            raise RuntimeError("operation not permitted when stream is capturing")
        warm_up(call)

    def reopen(capture):
        opened.append(capture)
        return session

    monkeypatch.setattr(PreparedCall, "warm_up", failing)
    with pytest.raises(RuntimeError, match="not permitted"):
        step_network.prepare(1, len(frames[0]))
    monkeypatch.setattr(step_network._calls, "_open", reopen)
    monkeypatch.setattr(audiosep_core.runtime.calls, "captures", lambda session: True)
    step_network.prepare(1, len(frames[0]))
    assert opened == [False]
    np.testing.assert_array_equal(run(step_network, frames, 1)[0], expected)

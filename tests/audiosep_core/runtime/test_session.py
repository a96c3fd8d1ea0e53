"""The estimator: windows in batches, and calls whose shape is prepared."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import audiosep_core.runtime.calls
import audiosep_core.runtime.session
from audiosep_core.runtime.prepared import PreparedCall
from audiosep_core.runtime.session import MaskEstimator

SHAPES = [(1, 32), (3, 32), (2, 64)]


@pytest.fixture(scope="module")
def plain(windowed):
    return MaskEstimator(windowed.bundle, "cpu", 1)


@pytest.fixture
def estimator(windowed):
    return MaskEstimator(windowed.bundle, "cpu", 1)


def windows(config, rows, frames, seed=0):
    rng = np.random.default_rng(seed)
    magnitudes = rng.uniform(0, 10, (rows, frames, config.bins)).astype(np.float32)
    return magnitudes, rng.standard_normal((rows, config.condition_size)).astype(np.float32)


def test_every_row_has_a_window_of_its_own(plain):
    magnitudes, conditions = windows(plain.config, 3, 32)
    together = plain.run(magnitudes, conditions)
    for row in range(3):
        alone = plain.masks(magnitudes[row], conditions[row : row + 1])
        np.testing.assert_allclose(together[row : row + 1], alone, atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-3
    with pytest.raises(ValueError, match="3 magnitudes need as many conditions, not 2"):
        plain.run(magnitudes, conditions[:2])


def test_many_rows_are_run_in_groups(plain, monkeypatch):
    magnitudes, conditions = windows(plain.config, 5, 32)
    whole = plain.run(magnitudes, conditions)
    monkeypatch.setattr(audiosep_core.runtime.session, "_MOST_FRAMES", 64)
    np.testing.assert_allclose(plain.run(magnitudes, conditions), whole, atol=1e-6)


@pytest.mark.parametrize("threaded", [False, True])
def test_prepared_shapes_give_the_same_to_the_bit(windowed, plain, monkeypatch, threaded):
    """With a thread of its own, as on CUDA, too."""
    if threaded:
        executor = ThreadPoolExecutor(1)
        monkeypatch.setattr(audiosep_core.runtime.calls, "own_thread", lambda provider: executor)
    estimator = MaskEstimator(windowed.bundle, "cpu", 1)
    for shape in SHAPES:
        estimator.prepare(*shape)
        estimator.prepare(*shape)
    kept = []
    for seed in range(3):
        for rows, frames in [*SHAPES, (2, 32)]:
            inputs = windows(plain.config, rows, frames, seed)
            kept.append((estimator.run(*inputs), plain.run(*inputs)))
    # Compared at the end: what was returned is not overwritten by later calls.
    for found, expected in kept:
        np.testing.assert_array_equal(found, expected)
    magnitudes, conditions = windows(plain.config, 3, 32)
    np.testing.assert_array_equal(
        estimator.masks(magnitudes[0], conditions), plain.masks(magnitudes[0], conditions)
    )


def test_a_prepared_shape_really_runs_in_its_buffers(estimator, monkeypatch):
    estimator.prepare(2, 32)
    inputs = windows(estimator.config, 2, 32)
    expected = estimator.run(*inputs)
    monkeypatch.setattr(estimator._calls, "_session", None)
    np.testing.assert_array_equal(estimator.run(*inputs), expected)
    with pytest.raises(AttributeError):
        estimator.run(*windows(estimator.config, 1, 32))


def test_threads_share_an_estimator(estimator, plain):
    estimator.prepare(1, 32)
    inputs = [windows(plain.config, 1, 32, seed) for seed in range(24)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda pair: estimator.run(*pair), inputs))
    for masks, pair in zip(found, inputs, strict=True):
        np.testing.assert_array_equal(masks, plain.run(*pair))


def test_a_shape_too_large_to_keep_is_not_prepared(estimator, monkeypatch):
    monkeypatch.setattr(audiosep_core.runtime.calls, "PreparedCall", None)
    estimator.prepare(9, 64)
    with pytest.raises(TypeError):
        estimator.prepare(8, 64)


def test_without_a_capture_it_runs_all_the_same(estimator, plain, monkeypatch):
    """As on a GPU where a node of the graph cannot be captured."""
    estimator.prepare(1, 32)
    opened, warm_up = [], PreparedCall.warm_up

    def failing(call):
        if not opened:
            raise RuntimeError("operation not permitted when stream is capturing")
        warm_up(call)

    def reopen(capture):
        opened.append(capture)
        return plain._calls._session

    monkeypatch.setattr(PreparedCall, "warm_up", failing)
    with pytest.raises(RuntimeError, match="not permitted"):
        estimator.prepare(2, 32)
    monkeypatch.setattr(estimator._calls, "_open", reopen)
    monkeypatch.setattr(audiosep_core.runtime.calls, "captures", lambda session: True)
    estimator.prepare(2, 32)
    assert opened == [False]
    inputs = windows(estimator.config, 2, 32)
    np.testing.assert_array_equal(estimator.run(*inputs), plain.run(*inputs))


@pytest.mark.parametrize("shape", [(0, 32), (1, 0), (1, 33)])
def test_an_impossible_shape_is_refused(estimator, shape):
    with pytest.raises(ValueError, match="cannot be prepared"):
        estimator.prepare(*shape)


def test_nobody_is_told_what_runs_here(tmp_path):
    """ONNX Runtime keeps what it would report in the user's folders, unless it is told not to."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    script = "from audiosep_core import Separator; Separator(device='cpu')"
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert not list(tmp_path.rglob("*onnxruntime*"))

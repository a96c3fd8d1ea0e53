"""Stand-ins for the network: what they let through is known, so that output can be."""

import copy
import dataclasses

import numpy as np
import pytest


class Transparent:
    """Masks that let everything through; counts its calls."""

    def __init__(self, config):
        self.config = config
        self.calls = 0
        self.prepared = set()
        self.asked = set()

    def prepare(self, rows, frames):
        self.prepared.add((rows, frames))

    def masks(self, magnitude, conditions):
        assert len(magnitude) % self.config.frame_multiple == 0
        self.calls += 1
        self.asked.add((len(conditions), len(magnitude)))
        masks = np.zeros((len(conditions), 3, *magnitude.shape), np.float32)
        masks[:, :2] = 1
        return masks


@pytest.fixture(scope="session")
def transparent_with(separator):
    """A separator whose network, of a given configuration, lets everything through."""

    def make(config):
        clear = copy.copy(separator)
        clear.bundle = dataclasses.replace(separator.bundle, config=config)
        clear.estimator = Transparent(config)
        return clear

    return make


@pytest.fixture
def transparent(separator, transparent_with):
    """The default separator, but its network lets everything through."""
    return transparent_with(separator.bundle.config)


@pytest.fixture(scope="session")
def feed():
    """Push audio through a stream in blocks of given sizes, in turn."""

    def run(stream, audio, sizes=(512,), flush=False):
        parts, position, turn = [], 0, 0
        while position < audio.shape[-1]:
            size = sizes[turn % len(sizes)]
            block = np.ascontiguousarray(audio[:, position : position + size])
            parts.append(stream.process(block))
            assert parts[-1].shape[-1] == block.shape[-1]
            assert parts[-1].dtype == np.float32
            position, turn = position + size, turn + 1
        if flush:
            parts.append(stream.flush())
        return np.concatenate(parts, -1)

    return run


@pytest.fixture(scope="session")
def music():
    """Noise and tones with a changing level: (channels, frames)."""

    def make(channels, frames, seed=7):
        rng = np.random.default_rng(seed)
        envelope = np.repeat(10 ** rng.uniform(-2, 0, frames // 2000 + 1), 2000)[:frames]
        tone = np.sin(np.arange(frames) * 0.05)
        noise = rng.standard_normal((channels, frames))
        return (0.2 * envelope * (tone + 0.5 * noise)).astype(np.float32)

    return make

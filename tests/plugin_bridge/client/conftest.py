"""A client of the real server, and the engine to compare with."""

import numpy as np
import pytest

from plugin_bridge import BridgeClient

PATIENCE = 60


@pytest.fixture
def client(server):
    with BridgeClient(socket=server.address.path, timeout=PATIENCE) as client:
        yield client


class Played:
    """What went through a stream block by block, and what came out.

    Attributes:
        blocks: Pairs of both.
    """

    def __init__(self):
        self.blocks = []

    def play(self, stream, audio, until=None, size=512, between=lambda: None):
        """Blocks of the audio, over and over, until something is the case or it ends."""
        count = 0
        while (count < audio.shape[1]) if until is None else not until():
            block = np.take(audio, range(count, count + size), axis=1, mode="wrap")
            block = np.ascontiguousarray(block)
            self.blocks.append((block, stream.process(block)))
            count += size
            between()

    @property
    def mixture(self):
        return np.concatenate([block for block, _ in self.blocks], -1)

    @property
    def out(self):
        return np.concatenate([out for _, out in self.blocks], -1)

    def assert_in_time(self, delay):
        """Target and residual sum to the delayed mixture at every frame."""
        assert not self.out[..., :delay].any()
        late = self.out[..., delay:].sum(0)
        assert np.abs(late - self.mixture[:, : late.shape[1]]).max() <= 1e-6


@pytest.fixture
def played():
    """Makes what blocks are played into."""
    return Played


@pytest.fixture(scope="session")
def settle():
    """Waits until all that was sent is answered, as time would pass in a host."""

    def wait(stream):
        link = stream._link
        link.drain()
        while link.exchange.answered < link.exchange.last:
            link.receive(wait=True)

    return wait

"""Stand-ins for the network and for the server, and servers of this process."""

import contextlib
import copy
import dataclasses
import functools
import operator
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from audiosep_core import Separator
from audiosep_core.model.config import get_config
from plugin_bridge.address import UnixAddress
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import Opened, Welcome
from plugin_bridge.protocol.server_side import Block, Reply, ServerProtocol
from plugin_bridge.protocol.wire import Type
from plugin_bridge.server.server import BridgeServer


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
        clear.bundle = dataclasses.replace(separator.bundle, config=config, context_seconds=3.584)
        clear.estimator = Transparent(config)
        return clear

    return make


@pytest.fixture
def transparent(transparent_with):
    """A separator whose network sees windows, whatever form ships, and lets everything through."""
    return transparent_with(get_config("mini-windowed"))


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


@pytest.fixture(scope="session")
def bridge_server():
    """Makes servers of the default model in this process, with one thread for the network."""
    return functools.partial(BridgeServer, device="cpu", threads=1)


@pytest.fixture(scope="session")
def address(server):
    """Where the server for all tests listens."""
    return server.address


class FakeServer:
    """A server that is one only as far as a test wants it.

    Args:
        address: Where to listen.
        behave: Called with this server, the connection and the protocol on a thread of each
            connection, which lasts until the test is over.
        opens: Whether it greets and opens a stream first.
        latency, slack, rows: Of that stream.
    """

    def __init__(self, address, behave, opens=True, latency=1000, slack=500, rows=1):
        self.address, self.behave, self.opens = address, behave, opens
        self._opened = Opened(latency, slack, 100, rows, "fake")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address.path))
        self._listener.listen()
        #: Set when the test is over.
        self.over = threading.Event()
        self.accepted = threading.Semaphore(0)
        self.links = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self):
        self.over.set()
        for link in [self._listener, *self.links]:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()
        for thread in self._threads:
            thread.join()

    def _accept(self):
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self.links.append(link)
            self.accepted.release()
            thread = threading.Thread(target=self._serve, args=(link,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, link):
        protocol = ServerProtocol(Limits(), Welcome(0, "fake", "fake", {}))
        with contextlib.suppress(OSError):
            if not self.opens or self._open(link, protocol):
                self.behave(self, link, protocol)

    def _open(self, link, protocol):
        for event in self.events(link, protocol):
            if getattr(event, "type", None) == Type.OPEN:
                protocol.opened(event.stream, event.message.channels, event.message.max_block)
                link.sendall(protocol.send(event.stream, event.sequence, self._opened))
                return True
        return False

    def events(self, link, protocol):
        """What a client sends, as long as it does."""
        while data := link.recv(1 << 16):
            for event in protocol.receive(data):
                if isinstance(event, Reply):
                    link.sendall(event.data)
                else:
                    yield event

    def blocks(self, link, protocol):
        """The audio of what a client sends, and what answers it with rows."""
        for event in self.events(link, protocol):
            if isinstance(event, Block):

                def answer(rows, substituted=False, to=event):
                    return protocol.send_audio(to.stream, to.sequence, rows, substituted)

                yield event.audio, answer


@pytest.fixture
def fake(tmp_path):
    """Start servers that misbehave."""
    with contextlib.ExitStack() as stack:

        def run(behave, **options):
            server = FakeServer(UnixAddress(tmp_path / "fake.sock"), behave, **options)
            stack.callback(server.close)
            return server

        yield run


@pytest.fixture(scope="session")
def wait_until():
    """Wait for something that another thread or process brings about."""

    def wait(condition):
        never, limit = threading.Event(), time.monotonic() + 60
        while not condition():
            assert time.monotonic() < limit, "it did not happen"
            never.wait(0.01)

    return wait


@pytest.fixture
def held(wait_until):
    """A context behind which a process holds no more descriptors and threads; a leak stays."""

    @contextlib.contextmanager
    def check(pid, threads=None):
        def count():
            kinds = [len(list(Path("/proc", str(pid), name).iterdir())) for name in ("fd", "task")]
            return kinds[0], threads() if threads else kinds[1]

        before = count()
        yield
        wait_until(lambda: all(map(operator.le, count(), before)))

    return check


@pytest.fixture(scope="session")
def local():
    """What the server runs, in this process."""
    return Separator(device="cpu", threads=1)


@pytest.fixture
def nothing_left(held):
    """Fails where descriptors or threads of Python are left over."""
    # The network starts threads of its own when it is first used.
    with held("self", threading.active_count):
        yield

"""A real server in a process of its own, servers that misbehave, and the engine to compare with."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from audiosep_core import Separator
from plugin_bridge import BridgeClient
from plugin_bridge.address import UnixAddress
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import Opened, Welcome
from plugin_bridge.protocol.server_side import Block, Reply, ServerProtocol
from plugin_bridge.protocol.wire import Type

PATIENCE = 60


class ServerProcess:
    """``audiosep serve``, running until it is stopped or killed."""

    def __init__(self, folder, *options):
        self.socket = folder / "s"
        self._folder = folder
        self._options = options
        self.start()

    def start(self):
        """Start, or start again, and wait until clients can connect."""
        where = [] if "--tcp" in self._options else ["--socket", str(self.socket)]
        code = "from audiosep_core.commands import main; main()"
        options = [*where, "--device", "cpu", "--threads", "1", *self._options]
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "XDG_RUNTIME_DIR": str(self._folder)},
        )
        said = self.process.stdout.readline()
        assert said.startswith("ready on ")
        self.address = said.removeprefix("ready on ").partition(" (")[0]

    def pause(self):
        """Let it answer no more, as if it hung."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        """After :meth:`pause`."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self):
        """Have it end in good order."""
        self._end(signal.SIGTERM)

    def _end(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(PATIENCE)
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path):
    """Start servers that are gone when the test is."""
    with contextlib.ExitStack() as stack:

        def run(*options):
            server = ServerProcess(tmp_path, *options)
            stack.callback(server.kill)
            return server

        yield run


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all tests that leave it alone."""
    running = ServerProcess(tmp_path_factory.mktemp("bridge"))
    yield running
    running.stop()


@pytest.fixture
def client(server):
    with BridgeClient(socket=server.socket, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="session")
def local():
    """What the server runs, in this process."""
    return Separator(device="cpu", threads=1)


class FakeServer:
    """A server that lets clients in and opens streams, and then does what a test says.

    Args:
        address: Where to listen.
        behave: Called with the connection and the protocol, once the stream is open.
        greet: Called instead with the connection as soon as there is one.
    """

    latency, slack = 1000, 500

    def __init__(self, address, behave=None, greet=None):
        self._behave, self._greet = behave, greet
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
        with contextlib.suppress(OSError):
            if self._greet:
                self._greet(link)
                return
            protocol = ServerProtocol(Limits(), Welcome(0, "fake", "fake", {}))
            for event in self.events(link, protocol):
                if getattr(event, "type", None) == Type.OPEN:
                    opened = Opened(self.latency, self.slack, 100, 1, "fake")
                    protocol.opened(event.stream, event.message.channels, event.message.max_block)
                    link.sendall(protocol.send(event.stream, event.sequence, opened))
                    self._behave(self, link, protocol)
                    return

    def events(self, link, protocol):
        """What a client sends, as long as it does."""
        while data := link.recv(1 << 16):
            for event in protocol.receive(data):
                if isinstance(event, Reply):
                    link.sendall(event.data)
                else:
                    yield event

    def answers(self, link, protocol):
        """Answer blocks with half of the mixture, late by the latency, until the client goes."""
        history = np.zeros((2, self.latency), np.float32)
        for event in self.events(link, protocol):
            if isinstance(event, Block):
                history = np.concatenate([history, event.audio], -1)
                count = event.audio.shape[1]
                rows = np.ascontiguousarray(0.5 * history[None, :, :count])
                history = history[:, count:]
                link.sendall(protocol.send_audio(event.stream, event.sequence, rows, False))


@pytest.fixture
def fake(tmp_path):
    """Start servers that misbehave."""
    with contextlib.ExitStack() as stack:

        def run(behave=None, greet=None):
            server = FakeServer(UnixAddress(tmp_path / "f"), behave, greet)
            server.socket = tmp_path / "f"
            stack.callback(server.close)
            return server

        yield run


@pytest.fixture
def wait_until():
    """Wait for something that another thread or process brings about."""

    def wait(condition):
        never = threading.Event()
        for _ in range(PATIENCE * 100):
            if condition():
                return
            never.wait(0.01)
        raise AssertionError("it did not happen")

    return wait


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def nothing_left(wait_until):
    """Fails where threads or descriptors are left over."""
    threads, descriptors = threading.active_count(), open_descriptors()
    yield
    wait_until(lambda: threading.active_count() <= threads and open_descriptors() <= descriptors)

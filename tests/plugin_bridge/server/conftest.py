"""A real server in a process of its own, and bare peers that speak the protocol to it."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from plugin_bridge.address import UnixAddress
from plugin_bridge.protocol.client_side import AudioAnswer, ClientProtocol
from plugin_bridge.protocol.messages import Failure, Open, QueryMessage
from plugin_bridge.protocol.wire import Type

PATIENCE = 60


class RefusedError(Exception):
    """The server answered with an error."""


class Peer:
    """A client that sends one thing at a time and keeps what comes in between."""

    refused = RefusedError

    def __init__(self, address, token=None):
        self.link = address.connect(PATIENCE)
        self.protocol = ClientProtocol()
        self.news = []
        self.failures = []
        hello = self.protocol.hello("test", address.token() if token is None else token)
        # A server that is full may have hung up already; what it said can still be read.
        with contextlib.suppress(BrokenPipeError):
            self.link.sendall(hello)
        self.welcome = self.answer(Type.WELCOME).message

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.link.close()

    def send(self, data):
        self.link.sendall(data)
        return self.protocol.last_sequence

    def event(self):
        while not self.news:
            data = self.link.recv(1 << 20)
            if not data:
                raise EOFError
            self.news += self.protocol.receive(data)
        return self.news.pop(0)

    def answer(self, kind):
        """The next answer of that type; audio on the way is dropped."""
        while True:
            event = self.event()
            if isinstance(event, AudioAnswer):
                continue
            if isinstance(event.message, Failure):
                self.failures.append(event.message)
                if kind != Type.ERROR:
                    raise RefusedError(event.message.message)
            if event.type == kind:
                return event

    def open(self, query="drums", stream=1, sample_rate=48_000, channels=2, **fields):
        queries = [QueryMessage(query)] if isinstance(query, str) else query
        fields = {"max_block": 4096, "contract": "render", "slack": 0, **fields}
        self.send(
            self.protocol.open(stream, Open(sample_rate, channels, queries=queries, **fields))
        )
        return self.answer(Type.OPENED).message

    def audio(self):
        """The next audio."""
        while True:
            event = self.event()
            if isinstance(event, AudioAnswer):
                return event
            if isinstance(event.message, Failure):
                self.failures.append(event.message)

    def process(self, block, stream=1):
        """As the engine's, of a stream with one row."""
        self.send(self.protocol.audio(stream, block))
        return self.audio().rows[0]

    def flush(self, stream=1):
        self.send(self.protocol.plain(Type.FLUSH, stream))
        parts = []
        while True:
            event = self.event()
            if not isinstance(event, AudioAnswer):
                assert event.type == Type.DONE
                return np.concatenate(parts, -1)
            parts.append(event.rows[0])

    def hung_up(self):
        """Wait until the server closes; what it said is in ``failures``."""
        try:
            while True:
                event = self.event()
                if not isinstance(event, AudioAnswer) and isinstance(event.message, Failure):
                    self.failures.append(event.message)
        except (EOFError, ConnectionResetError):
            return True


class Process:
    """``audiosep serve`` in a process of its own."""

    def __init__(self, folder, *options, wait=True):
        self.address = UnixAddress(folder / "bridge.sock")
        self.log = folder / "server.log"
        where = [] if "--tcp" in options else ["--socket", str(self.address.path)]
        command = "from audiosep_core.commands import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", command, "serve", *where, "--device", "cpu", *options],
            stdout=subprocess.PIPE,
            stderr=self.log.open("ab"),
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "XDG_RUNTIME_DIR": str(folder)},
        )
        self.said = self.process.stdout.readline() if wait else ""

    @property
    def pid(self):
        return self.process.pid

    def held(self):
        """Numbers of open descriptors and of threads."""
        return (
            len(list(Path(f"/proc/{self.pid}/fd").iterdir())),
            len(list(Path(f"/proc/{self.pid}/task").iterdir())),
        )

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@pytest.fixture(scope="session")
def peer():
    return Peer


@pytest.fixture
def start(tmp_path):
    """Start servers that are gone when the test is."""
    started = []

    def run(*options, folder=tmp_path, wait=True):
        started.append(Process(folder, *options, wait=wait))
        return started[-1]

    yield run
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        server.process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for the tests of a module; it must end well after all of them."""
    running = Process(tmp_path_factory.mktemp("bridge"))
    yield running
    assert running.end() == 0
    running.process.stdout.close()
    assert not running.address.path.exists()
    assert '"error"' not in running.log.read_text()

"""Bare peers that speak the protocol to a server."""

import contextlib

import numpy as np
import pytest

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
        greeting = self.event()
        if greeting.type == Type.CHALLENGE:
            self.send(self.protocol.prove())
        else:
            self.news.insert(0, greeting)
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


@pytest.fixture(scope="session")
def peer():
    return Peer


@pytest.fixture
def nothing_left_of_server(held, server):
    """Fails where descriptors or threads are left over in the server for all tests."""
    with held(server.process.pid):
        yield

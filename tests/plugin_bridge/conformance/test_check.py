"""The cases for servers: ours holds them all, and one that departs is found out."""

import contextlib
import json
import socket
import threading

import pytest

from plugin_bridge.address import TcpAddress, UnixAddress
from plugin_bridge.conformance.cases import CASES, check_server
from plugin_bridge.protocol.wire import Decoder, Type
from plugin_bridge.server.server import running

PATIENCE = 60


def departures(address):
    return {name: said for name, said in check_server(address, PATIENCE) if said}


def test_the_server_keeps_to_the_protocol(server):
    assert len(CASES) > 10
    assert departures(server.address) == {}


def test_over_tcp(bridge_server, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with running(bridge_server(TcpAddress(0))) as bound:
        assert departures(bound) == {}


class Twisted:
    """Stands between a client and a server, and says other things than it does.

    Args:
        address: Where to listen.
        server: Where the server does.
        twist: From a frame of the server to what is sent in its place, or None for nothing.
    """

    def __init__(self, address, server, twist):
        self._server, self._twist = server, twist
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address.path))
        self._listener.listen()
        self._links = [self._listener]
        self._threads = [self._start(self._accept)]

    def close(self):
        for link in self._links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()
        for thread in self._threads:
            thread.join()

    def _start(self, task, *arguments):
        thread = threading.Thread(target=task, args=arguments)
        thread.start()
        return thread

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, far = self._listener.accept()[0], self._server.connect(PATIENCE)
                self._links += [near, far]
                self._threads.append(self._start(self._pass_on, near, far, bytes))
                self._threads.append(self._start(self._pass_on, far, near, self._twisted()))

    def _pass_on(self, source, to, change):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                to.sendall(change(data))
            to.shutdown(socket.SHUT_WR)

    def _twisted(self):
        decoder = Decoder(1 << 29)

        def change(data):
            out = b""
            while data:
                # The version is that of WELCOME from then on.
                decoder.version = (decoder._buffer + data)[4] if len(data) > 4 else decoder.version
                decoder.feed(data)
                data = b""
                while frame := decoder.next():
                    said = self._twist(frame)
                    out += said.encode(decoder.version) if said else b""
                    if decoder._buffer[4:5]:
                        decoder.version = decoder._buffer[4]
            return out

        return change


@pytest.fixture
def twisted(server, tmp_path):
    with contextlib.ExitStack() as stack:

        def make(twist):
            address = UnixAddress(tmp_path / "twisted.sock")
            between = Twisted(address, server.address, twist)
            stack.callback(between.close)
            return address

        yield make


def saying(kind, **fields):
    """A twist: JSON of that type with other fields."""

    def twist(frame):
        if frame.type != kind:
            return frame
        said = {**json.loads(frame.payload), **fields}
        return frame._replace(payload=json.dumps(said).encode())

    return twist


def other_samples(frame):
    """The lowest bit of the first sample is the number of the question."""
    if frame.type != Type.AUDIO:
        return frame
    payload = bytes([frame.payload[0] ^ (frame.sequence & 1)]) + frame.payload[1:]
    return frame._replace(payload=payload)


def other_numbers(frame):
    late = frame.type in (Type.PONG, Type.DONE)
    return frame._replace(sequence=frame.sequence + 1) if late else frame


@pytest.mark.parametrize(
    ("twist", "found"),
    [
        (lambda frame: frame, []),
        (saying(Type.CHANGED, position=1), ["changes: heard"]),
        (saying(Type.OPENED, latency=7), ["audio", "outputs", "changes: heard"]),
        (saying(Type.OPENED, rows=2), ["OPEN", "outputs"]),
        (saying(Type.ERROR, code="other"), ["frames: fatal", "OPEN", "CLOSE", "version 1"]),
        (saying(Type.WELCOME, version=1), ["greeting: the best"]),
        (other_samples, ["audio", "changes: heard"]),
        (other_numbers, ["frames: PING", "time", "CLOSE"]),
    ],
    ids=["nothing", "changed", "latency", "rows", "code", "version", "samples", "numbers"],
)
def test_what_departs_is_found(twisted, twist, found):
    said = departures(twisted(twist))
    assert bool(said) == bool(found)
    for begin in found:
        assert any(name.startswith(begin) for name in said), (begin, said)


def test_the_command(server, audiosep, twisted, tmp_path):
    code, out, _ = audiosep("bridge", "check", server.address)
    assert code == 0
    assert out.endswith(f"{len(CASES)} of {len(CASES)} cases hold\n")
    code, out, _ = audiosep("bridge", "check", twisted(other_samples), "--json")
    assert code == 1
    assert json.loads(out)["failed"] > 0
    code, _, err = audiosep("bridge", "check", tmp_path / "nobody.sock")
    assert code and "audiosep serve" in err
    code, _, err = audiosep("bridge", "check", "tcp:x")
    assert code and "port" in err

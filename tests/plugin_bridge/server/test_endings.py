"""When a server ends, and that strangers, terminals and odd names change nothing about it."""

import json
import signal
import threading

import numpy as np
import pytest

from plugin_bridge.address import UnixAddress
from plugin_bridge.protocol.client_side import ClientProtocol
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import Change, QueryMessage
from plugin_bridge.protocol.wire import Type
from plugin_bridge.server.server import running

PATIENCE = 60
BLOCK = 4096
#: What a terminal would obey: a colour, a title, and the markup of the library that prints.
ODD = "\x1b[31mred\x1b]0;title\x07[bold]\x9b\u202e"


@pytest.fixture
def inside(bridge_server, tmp_path):
    """A server of this process whose `serve` runs on a thread: (server, thread)."""
    started = []

    def make(idle_exit=None, **limits):
        server = bridge_server(UnixAddress(tmp_path / "s.sock"), limits=Limits(**limits))
        ready = threading.Event()
        thread = threading.Thread(
            target=server.serve, args=(lambda _: ready.set(), idle_exit), daemon=True
        )
        thread.start()
        assert ready.wait(PATIENCE)
        started.append((server, thread))
        return server, thread

    yield make
    for server, thread in started:
        server.stop()
        thread.join(PATIENCE)


def test_silent_strangers_lock_nobody_out(bridge_server, peer, tmp_path):
    # They may be silent for longer than this test lasts.
    limits = Limits(hello_seconds=3600)
    with running(bridge_server(UnixAddress(tmp_path / "s.sock"), limits=limits)) as address:
        strangers = [address.connect(PATIENCE) for _ in range(256)]
        with peer(address) as first, peer(address) as second:
            assert first.open(mode="track").rows == second.open(mode="track").rows == 1
            more = [address.connect(PATIENCE) for _ in range(256)]
            # Who said who they are is not what makes room.
            assert first.process(np.zeros((2, BLOCK), np.float32)).shape == (2, BLOCK)
        for link in strangers + more:
            link.close()


class Hours:
    """A clock on which an hour passes from one look to the next."""

    def __init__(self):
        self.looks = 0

    def monotonic(self):
        self.looks += 1
        return 3600.0 * self.looks


def test_a_server_that_nobody_wants_ends_and_one_that_somebody_wants_does_not(
    inside, peer, monkeypatch, wait_until
):
    clock = Hours()
    server, thread = inside(idle_exit=0.2)
    with peer(server.address) as client:
        monkeypatch.setattr("plugin_bridge.server.server.time", clock)
        wait_until(lambda: clock.looks > 5)
        assert client.open(mode="track").rows == 1
        assert thread.is_alive()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_idle_exit_ends_the_process(start):
    server = start("--idle-exit", "0.1")
    assert server.ended() == 0
    assert not server.address.path.exists()


def test_a_terminal_that_closes_takes_no_server_with_it(start, peer):
    server = start()
    server.process.send_signal(signal.SIGHUP)
    with peer(server.address) as client:
        assert client.open(mode="track").rows == 1
    assert server.end() == 0


def test_names_of_clients_do_nothing_to_a_terminal(start, audiosep):
    server = start()
    protocol = ClientProtocol()
    with server.address.connect(PATIENCE) as link:
        link.sendall(protocol.hello(ODD))
        assert list(protocol.receive(link.recv(4096)))
        link.sendall(protocol.plain(Type.RESET, 9))
        assert b"no-stream" in link.recv(4096)
        for form in ([], ["--json"], ["--prometheus"]):
            code, out, err = audiosep("serve", "--socket", server.address, "--status", *form)
            assert code == 0
            assert all(character.isprintable() or character == "\n" for character in out + err)
    assert server.end() == 0
    log = server.log.read_text()
    assert all(character.isprintable() or character == "\n" for character in log)


@pytest.mark.parametrize("where", ["failure", "report"])
def test_what_a_server_says_does_nothing_to_a_terminal(fake, audiosep, where):
    stream = dict.fromkeys(("name", "model", "contract", "sample_rate", "channels"), ODD)
    stream |= dict.fromkeys(("client", "stream", "queries", "latency", "slack"), ODD)
    stream |= dict.fromkeys(("late_blocks", "blocks", "substitutions"), ODD)
    stream["network"] = {"p50_ms": 0, "p99_ms": 0, "p999_ms": 0}
    figures = {"server": ODD, "uptime_seconds": 0, "clients": ODD, "load": 0, "streams": [stream]}

    def odd(server, link, protocol):
        for event in server.events(link, protocol):
            if where == "report":
                payload = json.dumps(figures).encode()
                answer = protocol.send_plain(Type.REPORT, 0, event.sequence, payload)
            else:
                from plugin_bridge.protocol.messages import Failure

                answer = protocol.send(0, event.sequence, Failure("internal", ODD, fatal=True))
            link.sendall(answer)

    server = fake(odd, opens=False)
    code, out, err = audiosep("serve", "--socket", server.address, "--status")
    assert code == (1 if where == "failure" else 0)
    assert "red" in out + err
    assert all(character.isprintable() or character == "\n" for character in out + err)


def test_a_call_that_never_ends_holds_up_no_end(inside, peer, monkeypatch):
    server, thread = inside()
    begun, never = threading.Event(), threading.Event()

    def run(magnitudes, conditions):
        begun.set()
        never.wait()

    monkeypatch.setattr(server._models.own.separator.estimator, "run", run)
    try:
        with peer(server.address) as client:
            client.open(mode="track", channels=1)
            # No more than the system holds of what comes back.
            for _ in range(5):
                client.send(client.protocol.audio(1, np.ones((1, BLOCK), np.float32)))
            assert begun.wait(PATIENCE)
            server.stop()
            thread.join(PATIENCE)
            assert not thread.is_alive()
    finally:
        never.set()


def test_a_client_that_does_not_read_holds_up_no_end(inside, peer, monkeypatch, wait_until):
    # A send that waits for the client would wait for ever.
    monkeypatch.setattr("plugin_bridge.server.connection._SEND_SECONDS", 1e6)
    server, thread = inside()
    with peer(server.address) as client:
        client.open(mode="track", outputs="target+residual")
        client.link.settimeout(1)
        with pytest.raises(TimeoutError):
            while True:
                client.send(client.protocol.audio(1, np.ones((2, BLOCK), np.float32)))
        connection = next(iter(server._connections.values()))
        wait_until(connection._sending.locked)
        server.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_changes_that_wait_for_the_encoder_hold_up_no_end(
    inside, peer, monkeypatch, wait_until, caplog
):
    server, thread = inside()
    encoder = server._models.own.separator.encoder
    encode, begun, ended = encoder.embed, threading.Event(), threading.Event()

    def slow(texts):
        if threading.current_thread().name.startswith("queries"):
            begun.set()
            ended.wait(PATIENCE)
        return encode(texts)

    monkeypatch.setattr(encoder, "embed", slow)
    with peer(server.address) as client:
        client.open(mode="track", channels=1)
        for number in range(50):
            queries = [QueryMessage(f"thing {number}")]
            client.send(client.protocol.change(1, Change(0, queries)))
        assert begun.wait(PATIENCE)
        (connection,) = server._connections.values()
        # As many as are prepared at once wait for the encoder, the rest in the reader's hands.
        wait_until(lambda: not connection._room._value)
        server.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        ended.set()
        wait_until(lambda: not connection._thread.is_alive())
    assert "internal" not in [record.getMessage() for record in caplog.records]

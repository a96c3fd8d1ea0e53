"""The C client when its server dies, is silent, or talks nonsense: the host never waits."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from plugin_bridge import StreamingSeparator
from plugin_bridge.address import UnixAddress
from plugin_bridge.protocol.limits import Limits
from plugin_bridge.protocol.messages import Opened, Welcome
from plugin_bridge.protocol.server_side import Block, Reply, Request, ServerProtocol
from plugin_bridge.protocol.wire import Type
from plugin_bridge.ramp import Ramp
from plugin_bridge.server.server import running

RATE, BLOCK = 48_000, 512
QUERIES = ["Drum kit", "Speech"]
pytestmark = pytest.mark.timeout(120)


def until(condition):
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "it never came to be"
        time.sleep(0.001)


def late(audio, frames):
    return np.pad(audio, ((0, 0), (frames, 0)))[:, : audio.shape[1]]


@contextlib.contextmanager
def server_process(path):
    """A server in a process of its own: what Popen gives."""
    command = "from audiosep_core.commands import main; main()"
    arguments = [sys.executable, "-c", command, "serve", "--socket", str(path), "--threads", "1"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert "ready" in process.stdout.readline()
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def listening(path, talk):
    """A server of the test's own: `talk(link)` on a thread for each connection."""
    links = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                link, _ = listener.accept()
                links.append(link)
                threading.Thread(target=guarded, args=(link,), daemon=True).start()

    def guarded(link):
        with contextlib.suppress(OSError):
            talk(link)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield links
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    for link in links:
        link.close()


def test_a_killed_server_is_not_heard(c_client, separator, music, feed, tmp_path):
    """The mixture takes over, and the target again, frame by frame where each belongs."""
    audio, lost, back = music(2, 600 * BLOCK), 20 * BLOCK, 300 * BLOCK
    with c_client(tmp_path / "s", QUERIES, RATE, 2) as client:
        with server_process(tmp_path / "s") as process:
            until(lambda: client.stats.connected)
            delay = client.latency
            out = [feed(client, audio[:, :lost])]
            process.send_signal(signal.SIGKILL)
            until(lambda: not client.stats.connected)
            out.append(feed(client, audio[:, lost:back]))
        with server_process(tmp_path / "s"):
            until(lambda: client.stats.connected)
            client.set_contract("render")
            out.append(feed(client, audio[:, back:]))
        assert (client.latency, client.stats.connections) == (delay, 2)
    heard, dry, begun = np.hstack(out), late(audio, delay), back + delay
    np.testing.assert_array_equal(heard[:, :begun], dry[:, :begun])
    engine = StreamingSeparator(QUERIES[:1], RATE, 2, "mix", separator)
    target = late(feed(engine, audio[:, back:]), delay - engine.latency_samples)[:, delay:]
    fade = np.minimum(np.arange(1, target.shape[1] + 1) / 480, 1)
    expected = dry[:, begun:] + fade * (target - dry[:, begun:])
    np.testing.assert_allclose(heard[:, begun:], expected, atol=1e-6)
    np.testing.assert_array_equal(heard[:, begun + 480 :], target[:, 480:])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_socket_that_somebody_else_made_is_not_trusted(c_client, tmp_path):
    with listening(tmp_path / "s", lambda link: None) as links:
        os.chown(tmp_path / "s", 65534, 65534)
        with c_client(tmp_path / "s", QUERIES, RATE, 1) as client:
            assert client.error and not client.stats.connected
        assert links == []


def test_a_host_may_start_before_the_server(c_client, bridge_server, music, feed, tmp_path):
    audio = music(1, 40 * BLOCK)
    with c_client(tmp_path / "s", QUERIES, RATE, 1) as client:
        assert "audiosep serve" in client.error
        assert client.latency == 0
        np.testing.assert_array_equal(feed(client, audio), audio)
        with running(bridge_server(UnixAddress(tmp_path / "s"))):
            until(lambda: client.stats.connected)
            latency = client.latency
            assert latency > 50_000
            assert client.error == ""
    with c_client(tmp_path / "s", QUERIES, RATE, 1, latency=latency) as client:
        assert client.latency == latency
        np.testing.assert_array_equal(feed(client, audio), late(audio, latency))


def silent(link):
    while link.recv(4096):
        pass


def deaf(link):
    threading.Event().wait(60)


def nonsense(link):
    link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def hangs_up(link):
    link.recv(4096)
    link.shutdown(socket.SHUT_RDWR)


def opens_then(afterwards):
    """Greets and opens a stream, then does something else."""

    def talk(link):
        server = ServerProtocol(Limits(), Welcome(0, "test", "mini", {}))
        while True:
            for event in server.receive(link.recv(4096)):
                if isinstance(event, Reply):
                    link.sendall(event.data)
                elif isinstance(event, Request) and event.type == Type.OPEN:
                    opened = Opened(latency=2000, slack=960, hop=100, rows=2, model="mini")
                    link.sendall(server.send(event.stream, event.sequence, opened))
                    server.opened(event.stream, 2, event.message.max_block)
                    return afterwards(link)

    return talk


def too_much(link):
    link.sendall(b"ASEP\1\5\0\0" + (1).to_bytes(4, "little") + b"\xff" * 12 + bytes(1 << 16))


def floods(link):
    pong = b"ASEP\1\x11" + bytes(18)
    while True:
        link.sendall(1000 * pong)


@pytest.mark.parametrize(
    "talk",
    [silent, deaf, nonsense, hangs_up, floods]
    + [opens_then(afterwards) for afterwards in (deaf, hangs_up, too_much, floods)],
    ids=["silent", "deaf", "nonsense", "hangs up", "floods"]
    + [f"opens, then {what}" for what in ("deaf", "hangs up", "too much", "floods")],
)
def test_a_useless_server_is_not_heard(c_client, music, feed, tmp_path, talk):
    """Every sample is that of the mixture; opening, 10 s of audio and closing end."""
    audio = music(2, 10 * RATE)
    with (
        listening(tmp_path / "s", talk),
        c_client(tmp_path / "s", QUERIES, RATE, 2, open_timeout_ms=100, latency=2960) as client,
    ):
        np.testing.assert_array_equal(feed(client, audio, (1024,)), late(audio, 2960))
        assert client.stats.dry == 10 * RATE - 2960


def upside_down(gate, substituted):
    """The target is the mixture upside down; no answer passes before the gate is open."""

    def talk(link):
        server = ServerProtocol(Limits(), Welcome(0, "test", "mini", {}))
        while data := link.recv(1 << 16):
            for event in server.receive(data):
                if isinstance(event, Reply):
                    link.sendall(event.data)
                elif isinstance(event, Block):
                    gate.wait()
                    rows = np.stack([-event.audio, 2 * event.audio])
                    link.sendall(server.send_audio(1, event.sequence, rows, substituted))
                elif event.type == Type.OPEN:
                    opened = Opened(latency=0, slack=960, hop=100, rows=2, model="mini")
                    link.sendall(server.send(1, event.sequence, opened))
                    server.opened(1, 2, event.message.max_block)

    return talk


def test_late_answers_are_dropped_and_the_first_in_time_is_played(c_client, music, feed, tmp_path):
    audio, at, gate = music(2, RATE), 50 * BLOCK, threading.Event()
    with (
        listening(tmp_path / "s", upside_down(gate, substituted=False)),
        c_client(tmp_path / "s", QUERIES, RATE, 2) as client,
    ):
        assert client.latency == 960
        before = feed(client, audio[:, :at])
        gate.set()
        client.set_contract("render")
        behind = feed(client, audio[:, at:])
        assert (client.stats.dry, client.stats.failed) == (at - 960, 0)
    expected = late(audio, 960)
    np.testing.assert_array_equal(before, expected[:, :at])
    fade = 1 - 2 * np.minimum(np.arange(1, RATE - at + 1) / 480, 1)
    np.testing.assert_allclose(behind, fade * expected[:, at:], atol=1e-6)
    np.testing.assert_array_equal(behind[:, 480:], -expected[:, at + 480 :])


def test_what_the_server_let_stand_in_is_counted(c_client, music, feed, tmp_path):
    gate = threading.Event()
    gate.set()
    with (
        listening(tmp_path / "s", upside_down(gate, substituted=True)),
        c_client(tmp_path / "s", QUERIES, RATE, 2, contract="render") as client,
    ):
        feed(client, music(2, RATE))
        assert (client.stats.substituted, client.stats.dry) == (RATE - 960, 0)


def test_levels_move_without_a_click(c_client, music, feed, tmp_path):
    """From the target alone to half of each, in 480 frames."""
    audio, at, gate = music(2, RATE), 20 * BLOCK, threading.Event()
    gate.set()
    with (
        listening(tmp_path / "s", upside_down(gate, substituted=False)),
        c_client(tmp_path / "s", QUERIES, RATE, 2, contract="render") as client,
    ):
        out = [feed(client, audio[:, :at])]
        client.set_levels(0.5, 0.5)
        out.append(feed(client, audio[:, at:]))
    expected = late(audio, 960)
    levels = Ramp((1.0, 0.0))
    rows = np.stack([-expected, 2 * expected])
    blended = [levels.blend(rows[..., :at])]
    levels.aim((0.5, 0.5))
    blended.append(levels.blend(rows[..., at:]))
    np.testing.assert_array_equal(np.hstack(out), np.hstack(blended))


def test_a_bounce_without_a_server_ends(c_client, music, feed, tmp_path):
    """It gives up once, not for every block, and says how much failed."""
    audio = music(1, 3 * RATE)
    fields = {"contract": "render", "render_timeout_ms": 50}
    with c_client(tmp_path / "s", QUERIES, RATE, 1, **fields) as client:
        np.testing.assert_array_equal(feed(client, audio, (64,)), audio)
        assert client.stats.failed == 3 * RATE


def test_a_refused_query_is_told_and_the_old_one_stays(
    c_client, bridge_server, music, feed, tmp_path
):
    with (
        running(bridge_server(UnixAddress(tmp_path / "s"))),
        c_client(tmp_path / "s", QUERIES, RATE, 1, contract="render") as client,
    ):
        for text in ("", "x" * 10_000):
            assert client.set_slot(5, [text]) == 0
            client.select(5)
            feed(client, music(1, 2 * RATE))
            assert client.error.startswith("bad-query: ")
            assert client.stats.connected
        assert client.stats.dry == 0


@pytest.mark.parametrize("text", [b"", b"x" * 10_000, b"\xff\xfe"])
def test_a_client_of_a_refused_query_runs_dry(c_client, bridge_server, tmp_path, text):
    with (
        running(bridge_server(UnixAddress(tmp_path / "s"))),
        c_client(tmp_path / "s", [text, b"Speech"], RATE, 1) as client,
    ):
        assert client.error
        assert not client.stats.connected
        client.select(1)
        until(lambda: client.stats.connected)


def test_impossible_configurations_are_refused(c_client, tmp_path):
    for rate, channels, fields in (
        (RATE, 0, {}),
        (RATE, 33, {}),
        (0, 2, {}),
        (RATE, 2, {"strength": 0.0}),
        (RATE, 2, {"slot": 2}),
        (RATE, 2, {"latency": 10 * RATE}),
    ):
        with pytest.raises(ValueError, match="refuses"):
            c_client(tmp_path / "s", QUERIES, rate, channels, **fields)
    for where in ("tcp:0", "tcp:70000", "tcp:x", "/" + 200 * "x"):
        with pytest.raises(ValueError, match="refuses"):
            c_client(where, QUERIES, RATE, 2)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc to count in")
def test_nothing_is_left_behind(c_client, music, feed, tmp_path):
    def count():
        return [len(list(Path("/proc/self", name).iterdir())) for name in ("fd", "task")]

    audio = music(2, 4 * BLOCK)
    with server_process(tmp_path / "s"):
        before = count()
        for _ in range(40):
            with c_client(tmp_path / "s", QUERIES, RATE, 2) as client:
                feed(client, audio)
        assert count() == before

"""The C client when its server dies, is silent, or talks nonsense: the host never waits."""

import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from plugin_bridge import StreamingSeparator
from plugin_bridge.address import UnixAddress
from plugin_bridge.effect.ramp import Ramp
from plugin_bridge.server.server import running

RATE, BLOCK = 48_000, 512
QUERIES = ["Drum kit", "Speech"]
pytestmark = pytest.mark.timeout(120)


def late(audio, frames):
    return np.pad(audio, ((0, 0), (frames, 0)))[:, : audio.shape[1]]


def test_a_killed_server_is_not_heard(c_client, separator, music, feed, start, wait_until):
    """The mixture takes over, and the target again, frame by frame where each belongs."""
    audio, lost, back = music(2, 600 * BLOCK), 20 * BLOCK, 300 * BLOCK
    server = start()
    with c_client(server.address, QUERIES, RATE, 2) as client:
        wait_until(lambda: client.stats.connected)
        delay = client.latency
        out = [feed(client, audio[:, :lost])]
        server.kill()
        wait_until(lambda: not client.stats.connected)
        out.append(feed(client, audio[:, lost:back]))
        server.start()
        wait_until(lambda: client.stats.connected)
        client.set_contract("render")
        out.append(feed(client, audio[:, back:]))
        assert (client.latency, client.stats.connections) == (delay, 2)
    heard, dry = np.hstack(out), late(audio, delay)
    np.testing.assert_array_equal(heard[:, :back], dry[:, :back])
    # A render is given what was not answered before it, so that it is whole from its first frame.
    engine = StreamingSeparator(QUERIES[:1], RATE, 2, "mix", separator)
    target = late(feed(engine, audio), delay - engine.latency_samples)[:, back:]
    fade = np.minimum(np.arange(1, target.shape[1] + 1) / 480, 1)
    expected = dry[:, back:] + fade * (target - dry[:, back:])
    np.testing.assert_allclose(heard[:, back:], expected, atol=2e-6)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_socket_that_somebody_else_made_is_not_trusted(c_client, fake):
    server = fake(silent, opens=False)
    os.chown(server.address.path, 65534, 65534)
    with c_client(server.address, QUERIES, RATE, 1) as client:
        assert client.error and not client.stats.connected
    assert server.links == []


def test_a_host_may_start_before_the_server(
    c_client, bridge_server, music, feed, tmp_path, wait_until
):
    audio = music(1, 40 * BLOCK)
    with c_client(tmp_path / "s", QUERIES, RATE, 1) as client:
        assert "audiosep serve" in client.error
        assert client.latency == 0
        np.testing.assert_array_equal(feed(client, audio), audio)
        with running(bridge_server(UnixAddress(tmp_path / "s"))):
            wait_until(lambda: client.stats.connected)
            latency = client.latency
            assert latency > 14_719
            assert client.error == ""
    with c_client(tmp_path / "s", QUERIES, RATE, 1, latency=latency) as client:
        assert client.latency == latency
        np.testing.assert_array_equal(feed(client, audio), late(audio, latency))


def silent(server, link, protocol):
    while link.recv(4096):
        pass


def deaf(server, link, protocol):
    server.over.wait()


def nonsense(server, link, protocol):
    link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def hangs_up(server, link, protocol):
    link.recv(4096)
    link.shutdown(socket.SHUT_RDWR)


def too_much(server, link, protocol):
    link.sendall(b"ASEP\1\5\0\0" + (1).to_bytes(4, "little") + b"\xff" * 12 + bytes(1 << 16))


def floods(server, link, protocol):
    pong = b"ASEP\1\x11" + bytes(18)
    while True:
        link.sendall(1000 * pong)


@pytest.mark.parametrize(
    ("behave", "opens"),
    [(behave, False) for behave in (silent, deaf, nonsense, hangs_up, floods)]
    + [(behave, True) for behave in (deaf, hangs_up, too_much, floods)],
)
def test_a_useless_server_is_not_heard(c_client, music, feed, fake, behave, opens):
    """Every sample is that of the mixture; opening, 10 s of audio and closing end."""
    audio = music(2, 10 * RATE)
    server = fake(behave, opens=opens, latency=2000, slack=960, rows=2)
    fields = {"open_timeout_ms": 100, "latency": 2960}
    with c_client(server.address, QUERIES, RATE, 2, **fields) as client:
        np.testing.assert_array_equal(feed(client, audio, (1024,)), late(audio, 2960))
        assert client.stats.dry == 10 * RATE - 2960


@pytest.fixture
def upside_down(fake):
    """A server whose target is the mixture upside down; it waits for ``gate`` to answer."""

    def run(gate=None, substituted=False):
        def behave(server, link, protocol):
            for audio, answer in server.blocks(link, protocol):
                if gate:
                    gate.wait(60)
                link.sendall(answer(np.stack([-audio, 2 * audio]), substituted))

        return fake(behave, latency=0, slack=960, rows=2).address

    return run


def test_late_answers_are_dropped_and_the_first_in_time_is_played(
    c_client, upside_down, music, feed
):
    audio, at, gate = music(2, RATE), 50 * BLOCK, threading.Event()
    with c_client(upside_down(gate), QUERIES, RATE, 2) as client:
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


def test_what_the_server_let_stand_in_is_counted(c_client, upside_down, music, feed):
    server = upside_down(substituted=True)
    with c_client(server, QUERIES, RATE, 2, contract="render") as client:
        feed(client, music(2, RATE))
        assert (client.stats.substituted, client.stats.dry) == (RATE - 960, 0)


def test_levels_move_without_a_click(c_client, upside_down, music, feed):
    """From the target alone to half of each, in 480 frames, with the frame of the mixture."""
    audio, said = music(2, RATE), 20 * BLOCK
    with c_client(upside_down(), QUERIES, RATE, 2, contract="render") as client:
        out = [feed(client, audio[:, :said])]
        client.set_levels(0.5, 0.5)
        out.append(feed(client, audio[:, said:]))
    at = said + 960
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


def test_a_refused_query_is_told_and_the_old_one_stays(c_client, address, music, feed):
    with c_client(address, QUERIES, RATE, 1, contract="render") as client:
        for text in ("", "x" * 10_000):
            assert client.set_slot(5, [text]) == 0
            client.select(5)
            feed(client, music(1, 2 * RATE))
            assert client.error.startswith("bad-query: ")
            assert client.stats.connected
        assert client.stats.dry == 0


@pytest.mark.parametrize("text", [b"", b"x" * 10_000, b"\xff\xfe"])
def test_a_client_of_a_refused_query_runs_dry(c_client, address, text, wait_until):
    with c_client(address, [text, b"Speech"], RATE, 1) as client:
        assert client.error
        assert not client.stats.connected
        client.select(1)
        wait_until(lambda: client.stats.connected)


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
def test_nothing_is_left_behind(c_client, address, music, feed, held):
    audio = music(2, 4 * BLOCK)
    with held("self"):
        for _ in range(40):
            with c_client(address, QUERIES, RATE, 2) as client:
                feed(client, audio)

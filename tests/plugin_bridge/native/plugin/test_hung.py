"""Servers that listen and do not answer: nothing of the host waits for one, except a bounce."""

import socket
import threading
import time

import numpy as np
import pytest

pytestmark = pytest.mark.slow
RATE, BLOCK = 48_000, 512
#: Seconds that an instance waited for a server before it was left to a thread of its own.
ONE_WAIT = 2.0
INSTANCES = 20


@pytest.fixture
def hung(fake, monkeypatch):
    """A server that lets clients in and says nothing, ever."""
    server = fake(lambda server, link, protocol: server.over.wait(), opens=False)
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(server.address))
    return server


def live(clap):
    """An instance as a host in real time has it, its words told."""
    host = clap(block=BLOCK)
    host.tell(prompt1="Drum kit")
    host.start()
    return host


def longest_call(host, audio, position=0):
    """Seconds of the longest call, of blocks that come when their time has come."""
    begin, longest, pause = time.monotonic(), 0.0, threading.Event()
    for start in range(0, audio.shape[1], BLOCK):
        pause.wait(max(0, begin + start / RATE - time.monotonic()))
        called = time.monotonic()
        host.process(audio[:, start : start + BLOCK], position + start)
        longest = max(longest, time.monotonic() - called)
    return longest


def test_instances_of_a_server_that_never_answers_wait_for_nothing(clap, hung, music):
    """All of what a host does with twenty takes less than ten of the waits that there were."""
    audio, begin = music(2, 8 * BLOCK), time.monotonic()
    for _ in range(INSTANCES):
        host = live(clap)
        late = host.latency
        heard = [host.process(audio[:, at : at + BLOCK], at) for at in range(0, 8 * BLOCK, BLOCK)]
        assert late > 8 * BLOCK and not np.any(heard)
        host.load(host.save())
        host.close()
    assert time.monotonic() - begin < INSTANCES * ONE_WAIT / 2
    assert hung.accepted.acquire(timeout=60)


def test_a_stopped_server_blocks_no_block(clap, start, monkeypatch, music, wait_until):
    """The mixture stands in; what is made, saved and ended meanwhile does not wait either."""
    server = start()
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(server.address))
    host, audio = live(clap), music(2, 2 * RATE)
    wait_until(lambda: host.value("Connected") == 1)
    longest_call(host, audio[:, :RATE])
    server.pause()
    try:
        begin = time.monotonic()
        other = live(clap)
        other.tell(prompt1="Speech", model="live")
        host.tell(prompt1="Speech")
        other.close()
        assert time.monotonic() - begin < ONE_WAIT / 2
        assert longest_call(host, audio, RATE) < ONE_WAIT / 2
        wait_until(lambda: "late" in host.texts["reason"])
        begin = time.monotonic()
        host.close()
        assert time.monotonic() - begin < ONE_WAIT / 2
    finally:
        server.resume()


def test_a_bounce_waits_for_a_server_that_takes_its_time(
    clap, address, monkeypatch, separated, music, tmp_path
):
    """Nobody told a program to start, but somebody listens: there will be an answer."""
    path = tmp_path / "slow.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    relays = threading.Thread(target=_relay_late, args=(listener, str(address)))
    relays.start()
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(path))
    audio, host = music(2, RATE), clap()
    host.tell(prompt1="Drum kit")
    host.render(offline=True)
    host.start()
    try:
        np.testing.assert_allclose(host.play(audio), separated(audio), atol=1e-6)
        assert float(host.texts["failed"]) == 0
    finally:
        host.close()
        listener.shutdown(socket.SHUT_RDWR)
        relays.join()
        listener.close()


def _relay_late(listener, to):
    """Lead the first client to the server when others have looked whether somebody listens."""
    client, _ = listener.accept()
    with client, socket.socket(socket.AF_UNIX) as server:
        for _ in range(2):
            listener.accept()[0].close()
        server.connect(to)
        ways = [
            threading.Thread(target=_pass_on, args=way)
            for way in ((client, server), (server, client))
        ]
        for way in ways:
            way.start()
        for way in ways:
            way.join()


def _pass_on(source, target):
    while data := source.recv(1 << 16):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


def test_a_bounce_against_a_hung_server_fails_loudly(clap, hung, music, wait_until, capfd):
    audio, host = music(2, RATE), clap()
    host.tell(prompt1="Drum kit")
    host.render(offline=True)
    host.start()
    late = host.latency
    np.testing.assert_array_equal(host.play(audio), audio)
    assert float(host.texts["failed"]) == pytest.approx((late + RATE) / RATE)
    wait_until(lambda: "unseparated parts: bounce again" in host.texts["reason"])
    assert "this bounce is not separated" in capfd.readouterr().err


def test_a_server_that_hangs_in_a_bounce_fails_it_loudly(
    clap, start, monkeypatch, music, separated, wait_until, capfd
):
    server = start()
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(server.address))
    audio, host = music(2, 2 * RATE), clap()
    host.tell(prompt1="Drum kit")
    host.render(offline=True)
    host.start()
    late, half = host.latency, audio[:, :RATE]
    parts = [host.process(half[:, at : at + BLOCK], at) for at in range(0, RATE, BLOCK)]
    server.pause()
    try:
        for at in range(RATE, 2 * RATE, BLOCK):
            parts.append(host.process(audio[:, at : at + BLOCK], at))
    finally:
        server.resume()
    heard = np.concatenate(parts, 1)[:, late:]
    done = RATE - late
    expected = separated(audio)
    np.testing.assert_allclose(heard[:, : done - BLOCK], expected[:, : done - BLOCK], atol=1e-6)
    assert float(host.texts["failed"]) > 0.5
    wait_until(lambda: "unseparated parts: bounce again" in host.texts["reason"])
    assert "this render is not whole" in capfd.readouterr().err

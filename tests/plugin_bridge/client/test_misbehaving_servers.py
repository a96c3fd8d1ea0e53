"""Servers that hang, break the protocol or are none: a client in real time holds out."""

import asyncio
import socket
import threading

import numpy as np
import pytest

from audiosep_core.errors import BridgeError
from plugin_bridge import (
    AsyncBridgeClient,
    BridgeClient,
)

RATE = 48_000


def deaf(server, link, protocol):
    """Reads nothing, says nothing."""
    server.over.wait()


def silent(server, link, protocol):
    """Reads, and says nothing."""
    while link.recv(1 << 16):
        pass


@pytest.mark.parametrize("behave", [deaf, silent])
def test_a_server_that_hangs_holds_nobody_up(fake, music, nothing_left, behave, played):
    server = fake(behave)
    audio = music(2, 400_000)
    with BridgeClient(socket=server.address.path, timeout=0.5) as client:
        stream = client.open("drums", RATE, 2)
        parts = played()
        parts.play(stream, audio, size=4000)
        delay = stream.latency_samples
        dry = parts.out
        assert np.array_equal(dry[:, delay:], parts.mixture[:, : dry.shape[1] - delay])
        tail = stream.flush()
        assert np.array_equal(tail, parts.mixture[:, -delay:])
        assert not stream.connected or behave is deaf
    server.close()


def test_what_nobody_reads_is_bounded(fake, music, played):
    server = fake(deaf)
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2)
        most = stream._most_unsent
        parts = played()

        def lost():
            assert stream._link is None or stream._link.unsent <= most
            return "takes no audio" in str(stream.last_error)

        parts.play(stream, music(2, 8000), until=lost)
        dry = parts.out
        delay = stream.latency_samples
        assert np.array_equal(dry[:, delay:], parts.mixture[:, : dry.shape[1] - delay])


def half(answer, link):
    """Sends half an answer and hangs up."""
    link.sendall(answer[: len(answer) // 2])
    link.shutdown(socket.SHUT_RDWR)


def garbage(answer, link):
    """Sends what is no frame."""
    link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)


def other_version(answer, link):
    """Changes the version in between."""
    link.sendall(answer[:4] + b"\x09" + answer[5:])


def too_much(answer, link):
    """Announces a payload of 4 GB."""
    link.sendall(answer[:12] + b"\xff\xff\xff\xff" + answer[16:])


def other_stream(answer, link):
    """Answers on a stream that nobody opened."""
    link.sendall(answer[:8] + b"\x07" + answer[9:])


def uneven(answer, link):
    """Sends a part of a frame of audio."""
    count = (len(answer) - 25).to_bytes(4, "little")
    link.sendall(answer[:12] + count + answer[16:-1])


def news(answer, link):
    """Tells another latency without being asked."""
    payload = b'{"latency":7,"slack":7,"hop":7}'
    count = len(payload).to_bytes(4, "little")
    link.sendall(answer[:5] + b"\x08" + answer[6:12] + count + answer[16:24] + payload)


BREACHES = [half, garbage, other_version, too_much, other_stream, uneven, news]


@pytest.mark.parametrize("breach", BREACHES)
def test_a_server_that_breaks_the_protocol_is_left(fake, music, nothing_left, breach, played):
    def behave(server, link, protocol):
        for audio, answer in server.blocks(link, protocol):
            breach(answer(audio[None]), link)

    server = fake(behave)
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2)
        delay, parts = stream.latency_samples, played()
        parts.play(stream, music(2, 8000), until=lambda: client.reconnects > 1)
        dry = parts.out
        assert np.array_equal(dry[:, delay:], parts.mixture[:, : dry.shape[1] - delay])
        assert isinstance(stream.last_error, BridgeError)
        assert "\n" not in str(stream.last_error)
        stream.contract = "render"
        with pytest.raises(BridgeError):
            stream.process(np.ones((2, 512), np.float32))
    server.close()


@pytest.mark.parametrize(
    "reply, message",
    [(b"", "closed the connection"), (b"HTTP/1.1 200 OK\r\n\r\n", "broke the protocol")],
)
def test_what_is_no_server_is_refused(fake, nothing_left, reply, message):
    def behave(server, link, protocol):
        link.recv(1 << 16)
        link.sendall(reply)
        link.shutdown(socket.SHUT_WR)
        silent(server, link, protocol)

    server = fake(behave, opens=False)
    with (
        BridgeClient(socket=server.address.path) as client,
        pytest.raises(BridgeError, match=message),
    ):
        client.open("drums", RATE, 2)

    async def run():
        async with AsyncBridgeClient(socket=server.address.path) as client:
            with pytest.raises(BridgeError, match=message):
                await client.open("drums", RATE, 2)

    asyncio.run(run())
    server.close()


def test_nobody_answers(tmp_path, nothing_left):
    with BridgeClient(socket=tmp_path / "none") as client:
        with pytest.raises(BridgeError, match="audiosep serve"):
            client.open("drums", RATE, 2)
        with pytest.raises(BridgeError, match="audiosep serve"):
            client.statistics()
    with pytest.raises(BridgeError, match="closed"):
        client.open("drums", RATE, 2)


def test_a_server_that_does_not_greet_times_out(fake, nothing_left):
    server = fake(silent, opens=False)
    with (
        BridgeClient(socket=server.address.path, timeout=0.05) as client,
        pytest.raises(BridgeError, match=r"no answer for 0\.05 s"),
    ):
        client.open("drums", RATE, 2)
    server.close()


def test_a_client_closes_while_it_tries_to_connect(fake, wait_until, nothing_left):
    first = threading.Event()

    def behave(server, link, protocol):
        # From now on nobody is greeted.
        server.behave, server.opens = silent, False
        first.set()

    server = fake(behave)
    client = BridgeClient(socket=server.address.path)
    stream = client.open("drums", RATE, 2)
    first.wait(60)
    server.links[0].shutdown(socket.SHUT_RDWR)
    block = np.ones((2, 512), np.float32)
    wait_until(lambda: stream.process(block) is not None and not stream.connected)
    for _ in range(2):
        server.accepted.acquire(timeout=60)
    client.close()
    with pytest.raises(BridgeError, match="closed"):
        stream.process(block)
    server.close()


def test_idle_connections_are_kept(fake, music):
    pings = threading.Semaphore(0)

    def listen(server, link, protocol):
        while data := link.recv(1 << 16):
            pings.release()
            list(protocol.receive(data))

    from plugin_bridge.client.exchange import Exchange

    server = fake(listen)
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2)
        stream._link.exchange.idle_seconds = 0.03
        client._keeper.wake()
        for _ in range(3):
            assert pings.acquire(timeout=60)
        assert stream.connected
        assert Exchange("").idle_seconds == 300

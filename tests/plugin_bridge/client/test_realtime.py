"""The contract "realtime": never waits, never silent, never out of time; and what it survives."""

import asyncio
import contextlib
import socket
import threading

import numpy as np
import pytest

from audiosep_core.errors import BridgeError
from plugin_bridge import (
    AsyncBridgeClient,
    BridgeClient,
    Delta,
    Settings,
    StreamingSeparator,
)
from plugin_bridge.address import UnixAddress
from plugin_bridge.server.server import running

RATE = 48_000
FADE = 480
#: The mode that leaves room for so long a slack.
ROOMY = "mix"
#: Frames enough for the slowest machine to answer in.
SLACK = RATE


def settle(stream):
    """Wait until all that was sent is answered, as time would pass in a host."""
    link = stream._link
    link.drain()
    while link.exchange.answered < link.exchange.last:
        link.receive(wait=True)


def play(stream, audio, parts, until=None, size=512, between=lambda: None):
    """Blocks of the audio, over and over, until something is the case or it ends."""
    count = 0
    while (count < audio.shape[1]) if until is None else not until():
        block = np.take(audio, range(count, count + size), axis=1, mode="wrap")
        parts.append((np.ascontiguousarray(block), stream.process(np.ascontiguousarray(block))))
        count += size
        between()


def inputs(parts):
    return np.concatenate([block for block, _ in parts], -1)


def outputs(parts):
    return np.concatenate([out for _, out in parts], -1)


def assert_in_time(parts, delay):
    """Target and residual sum to the delayed mixture at every frame."""
    mixture, out = inputs(parts), outputs(parts)
    assert not out[..., :delay].any()
    late = out[..., delay:].sum(0)
    assert np.abs(late - mixture[:, : late.shape[1]]).max() <= 1e-6


def test_answers_in_time_are_those_of_the_engine(client, local, feed, music):
    audio = music(2, 60_000)
    stream = client.open("drums", RATE, 2, ROOMY, slack=SLACK)
    engine = StreamingSeparator("drums", RATE, 2, ROOMY, local)
    assert stream.latency_samples == engine.latency_samples + SLACK
    parts = []
    play(stream, audio, parts, between=lambda: settle(stream))
    out = np.concatenate([outputs(parts), stream.flush()], -1)
    sent = inputs(parts)
    expected = feed(engine, sent, flush=True)
    assert np.array_equal(out[:, SLACK:], expected)
    assert not out[:, :SLACK].any()
    assert stream.dry_frames == 0


def test_a_bounce_between_live_blocks(client, feed, music):
    audio = music(2, 120_000)
    stream = client.open("drums", RATE, 2, ROOMY, slack=SLACK, outputs="target+residual")
    latency = stream.latency_samples
    # Opened for a bounce, its hops lie where those of the only live stream do.
    reference = client.open(
        "drums", RATE, 2, ROOMY, "render", slack=SLACK, outputs="target+residual"
    )
    expected = feed(reference, audio, flush=True)
    assert reference.latency_samples == latency and reference.dry_frames == 0
    parts = []
    play(stream, audio[:, :40_960], parts, between=lambda: settle(stream))
    stream.contract = "render"
    play(stream, audio[:, 40_960:81_920], parts)
    stream.contract = "realtime"
    play(stream, audio[:, 81_920:], parts, between=lambda: settle(stream))
    out = np.concatenate([outputs(parts), stream.flush()], -1)
    assert stream.statistics()["server"]["contract"] == "realtime"
    assert np.array_equal(out[..., : audio.shape[1]], expected[..., : audio.shape[1]])
    stream.contract = "render"
    assert np.array_equal(feed(stream, audio, flush=True), expected)


def test_late_answers_are_the_mixture(fake, music):
    begun = threading.Event()

    def answer_when_told(server, link, protocol):
        """With half of the mixture, late by the latency."""
        begun.wait(60)
        history = np.zeros((2, 1000), np.float32)
        for audio, answer in server.blocks(link, protocol):
            history = np.concatenate([history, audio], -1)
            late, history = np.split(history, [audio.shape[1]], -1)
            link.sendall(answer(0.5 * late[None]))

    server = fake(answer_when_told)
    audio = music(2, 30_000)
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2)
        delay = stream.latency_samples
        parts = []
        play(stream, audio, parts, size=500)
        dry = outputs(parts)
        assert np.array_equal(dry[:, delay:], inputs(parts)[:, : dry.shape[1] - delay])
        assert stream.dry_frames == dry.shape[1] - delay
        begun.set()
        settle(stream)
        before = stream.dry_frames
        more = []
        play(stream, audio, more, size=500, between=lambda: settle(stream))
        sent = np.concatenate([inputs(parts), inputs(more)], -1)
        late = sent[:, dry.shape[1] - delay :][:, : outputs(more).shape[1]]
        # Answers for the frames to be played were there: half of them, after the fade.
        assert np.array_equal(outputs(more)[:, FADE:], 0.5 * late[:, FADE:])
        assert stream.dry_frames == before


def deaf(server, link, protocol):
    """Reads nothing, says nothing."""
    server.over.wait()


def silent(server, link, protocol):
    """Reads, and says nothing."""
    while link.recv(1 << 16):
        pass


@pytest.mark.parametrize("behave", [deaf, silent])
def test_a_server_that_hangs_holds_nobody_up(fake, music, nothing_left, behave):
    server = fake(behave)
    audio = music(2, 400_000)
    with BridgeClient(socket=server.address.path, timeout=0.5) as client:
        stream = client.open("drums", RATE, 2)
        parts = []
        play(stream, audio, parts, size=4000)
        delay = stream.latency_samples
        dry = outputs(parts)
        assert np.array_equal(dry[:, delay:], inputs(parts)[:, : dry.shape[1] - delay])
        tail = stream.flush()
        assert np.array_equal(tail, inputs(parts)[:, -delay:])
        assert not stream.connected or behave is deaf
    server.close()


def test_what_nobody_reads_is_bounded(fake, music):
    server = fake(deaf)
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2)
        most = stream._most_unsent
        parts = []

        def lost():
            assert stream._link is None or stream._link.unsent <= most
            return "takes no audio" in str(stream.last_error)

        play(stream, music(2, 8000), parts, until=lost)
        dry = outputs(parts)
        delay = stream.latency_samples
        assert np.array_equal(dry[:, delay:], inputs(parts)[:, : dry.shape[1] - delay])


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
def test_a_server_that_breaks_the_protocol_is_left(fake, music, nothing_left, breach):
    def behave(server, link, protocol):
        for audio, answer in server.blocks(link, protocol):
            breach(answer(audio[None]), link)

    server = fake(behave)
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2)
        delay, parts = stream.latency_samples, []
        play(stream, music(2, 8000), parts, until=lambda: client.reconnects > 1)
        dry = outputs(parts)
        assert np.array_equal(dry[:, delay:], inputs(parts)[:, : dry.shape[1] - delay])
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


def killed_and_started_again(server, stream, music):
    """Blocks before, during and after an outage: all pairs, and when the server was away."""
    audio = music(2, 96_000)
    parts = []
    play(stream, audio, parts, between=lambda: settle(stream))
    server.kill()
    gone = len(parts) * 512
    play(stream, audio, parts)
    assert not stream.connected and stream.dry_frames > 0
    server.start()
    play(stream, audio, parts, until=lambda: stream.connected)
    back = len(parts) * 512
    play(stream, audio, parts, between=lambda: settle(stream))
    return parts, gone, back


def test_a_killed_server_is_survived(start, local, music, feed, nothing_left):
    server = start()
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2, ROOMY, slack=SLACK, outputs="target+residual")
        delay = stream.latency_samples
        stream.set_queries("wind")
        stream.strength = 2.0
        parts, gone, back = killed_and_started_again(server, stream, music)
        assert_in_time(parts, delay)
        out, mixture = outputs(parts), inputs(parts)
        # Answers that came before the outage are played, and then the mixture.
        assert np.abs(out[1, :, delay : gone + SLACK]).max() > 1e-3
        dry = out[..., gone + SLACK : back]
        expected = mixture[:, gone + SLACK - delay : back - delay]
        assert np.array_equal(dry[0, :, FADE:], expected[:, FADE:])
        assert not dry[1, :, FADE:].any()
        # What was the residual is not gone at once.
        assert np.abs(dry[1, :, :2] - out[1, :, gone + SLACK - 1 :][:, :1]).max() < 0.01
        # Then those of a new stream, which begins with the block before it was noticed.
        base = back - 512
        engine = StreamingSeparator(
            "wind", RATE, 2, ROOMY, local, outputs="target+residual", strength=2.0, origin=base
        )
        expected = feed(engine, mixture[:, base:])
        shift = base + delay - engine.latency_samples
        settled = slice(base + delay + FADE, None)
        assert out[..., settled].shape[-1] > 10_000
        assert (
            np.abs(
                out[..., settled]
                - expected[..., settled.start - shift :][..., : out[..., settled].shape[-1]]
            ).max()
            < 1e-6
        )
        assert client.reconnects == stream.reconnects == 1
        assert stream.dry_frames == base + delay - gone - SLACK
        figures = stream.statistics()
        assert figures["connected"] and figures["reconnects"] == 1
    server.end()


def test_a_change_that_is_refused_late_was_never_asked_for(bridge_server, music, tmp_path):
    """Neither is the change before it taken back, nor is a new server asked for it again."""
    server = bridge_server(UnixAddress(tmp_path / "s"))
    too_many, wanted = ["rain"] * 17, Settings("wind", strength=2.0)
    audio = music(2, 8000)
    with running(server) as address, BridgeClient(address.path) as client:
        stream = client.open("drums", RATE, 2, ROOMY, slack=SLACK)

        def settled():
            return stream.connected and not stream._pending

        stream.set_queries("wind")
        stream.set_queries(too_many)
        stream.strength = 2.0
        assert (len(stream.settings.queries), stream.strength) == (17, 2.0)
        play(stream, audio, [], until=settled)
        assert stream.settings == wanted
        assert "queries" in str(stream.last_error)
        # Now the connection goes while such a change is on its way.
        stream._link.abort()
        stream.set_queries(too_many)
        stream.remainder_db = -20.0
        play(stream, audio, [], until=lambda: stream.reconnects)
        play(stream, audio, [], until=settled)
        wanted = wanted.changed(Delta(remainder_db=-20.0))
        assert stream.settings == wanted
        *_, connection = server._connections.values()
        (served,) = connection.streams()
        assert served.request.settings == served.engine.settings == wanted


def test_a_stream_is_one_thread_at_a_time(client, music):
    stream = client.open("drums", RATE, 2, ROOMY, slack=SLACK)
    link = stream._link
    with link._receiving, pytest.raises(RuntimeError, match="two threads"):
        link.receive()
    stream.process(music(2, 512))


def test_an_asyncio_stream_keeps_to_its_loop(server):
    async def run():
        async with AsyncBridgeClient(socket=server.address.path) as client:
            stream = await client.open("drums", RATE, 2, ROOMY, slack=SLACK)
            with pytest.raises(RuntimeError, match="event loop"):
                await asyncio.to_thread(setattr, stream, "strength", 2.0)

    asyncio.run(run())


def test_a_bounce_does_not_outlive_its_server(start, music, feed, nothing_left):
    server = start()
    audio = music(2, 20_000)
    with BridgeClient(socket=server.address.path, reconnect=0) as client:
        stream = client.open("drums", RATE, 2, "track", "render")
        expected = feed(stream, audio, flush=True)
        feed(stream, audio[:, :5120])
        server.kill()
        for _ in range(2):
            with pytest.raises(BridgeError, match="audiosep serve"):
                stream.process(audio[:, :512].copy())
        with pytest.raises(BridgeError, match="audiosep serve"):
            stream.flush()
        with pytest.raises(BridgeError, match="audiosep serve"):
            stream.reset()
        server.start()
        stream.reset()
        assert np.array_equal(feed(stream, audio, flush=True), expected)
        assert not stream.statistics()["dry_frames"] > 5120
    server.end()


def test_a_bounce_right_after_an_outage_is_refused(start, music):
    server = start()
    audio = music(2, 10_240)
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2, ROOMY, slack=4800)
        play(stream, audio, [])
        server.kill()
        play(stream, audio, [])
        server.start()
        play(stream, audio, [], until=lambda: stream.connected)
        stream.contract = "render"
        with pytest.raises(BridgeError, match="bounce"):
            stream.process(audio)
        stream.reset()
        stream.process(audio)


def test_a_stopped_process_goes_on(start, music):
    server = start()
    audio = music(2, 48_000)
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2, "track", outputs="target+residual")
        parts = []
        play(stream, audio, parts, between=lambda: settle(stream))
        server.pause()
        play(stream, audio, parts)
        server.resume()
        play(stream, audio, parts, between=lambda: stream.connected and settle(stream))
        assert_in_time(parts, stream.latency_samples)
        assert stream.dry_frames > 0


def test_a_server_that_shuts_down_says_so(start, music):
    server = start()
    with BridgeClient(socket=server.address.path, reconnect=0) as client:
        live = client.open("drums", RATE, 2, "track")
        bounce = client.open("drums", RATE, 2, "track", "render")
        server.end()
        with pytest.raises(BridgeError, match="shuts down"):
            bounce.process(music(2, 512))
        play(live, music(2, 5120), [])
        assert not live.connected


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
        client._lost_one()
        for _ in range(3):
            assert pings.acquire(timeout=60)
        assert stream.connected
        assert Exchange("").idle_seconds == 300


def test_a_flush_that_is_not_whole_begins_anew(start, local, music, feed):
    server = start()
    audio = music(2, 96_000)
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2, ROOMY, slack=SLACK)
        play(stream, audio, [])
        server.kill()
        play(stream, audio, [])
        server.start()
        play(stream, audio, [], until=lambda: stream.connected)
        stream.contract = "render"
        with pytest.raises(BridgeError, match="bounce"):
            stream.flush()
        engine = StreamingSeparator("drums", RATE, 2, ROOMY, local)
        out = feed(stream, audio, flush=True)
        assert np.array_equal(out[:, SLACK:], feed(engine, audio, flush=True))


def test_an_interrupted_call_leaves_no_shift(start, local, music, feed):
    server = start()
    audio = music(2, 48_000)

    async def run():
        async with AsyncBridgeClient(socket=server.address.path) as client:
            stream = await client.open("drums", RATE, 2, "track", "render")
            await stream.process(audio)
            server.pause()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(stream.flush(), 0.05)
            server.resume()
            with pytest.raises(BridgeError, match="interrupted"):
                await stream.process(audio)
            await stream.reset()
            return np.concatenate([await stream.process(audio), await stream.flush()], -1)

    engine = StreamingSeparator("drums", RATE, 2, "track", local)
    assert np.array_equal(asyncio.run(run()), feed(engine, audio, flush=True))


def test_asyncio_survives_a_killed_server(start, music, nothing_left):
    server = start()
    audio = music(2, 96_000)

    async def play(stream, parts, until=None):
        count = 0
        while (count < audio.shape[1]) if until is None else not until():
            block = np.ascontiguousarray(np.take(audio, range(count, count + 480), 1, mode="wrap"))
            parts.append((block, await stream.process(block)))
            link = stream._link
            with contextlib.suppress(BridgeError):
                while not until and link and link.exchange.answered < link.exchange.last:
                    await link.wait()
            count += 480

    async def run():
        parts = []
        async with AsyncBridgeClient(socket=server.address.path, reconnect=0) as client:
            stream = await client.open(
                "drums", RATE, 2, ROOMY, slack=SLACK, outputs="target+residual"
            )
            await play(stream, parts)
            assert stream.dry_frames == 0
            server.kill()
            await play(stream, parts, lambda: not stream.connected)
            stream.contract = "render"
            with pytest.raises(BridgeError, match="audiosep serve"):
                await stream.process(audio)
            stream.contract = "realtime"
            server.start()
            await play(stream, parts, lambda: stream.connected)
            await play(stream, parts)
            assert client.reconnects == 1 and stream.dry_frames > 0
            assert np.abs(parts[-1][1][1]).max() > 0
            await stream.reset()
            again = []
            await play(stream, again)
            assert_in_time(again, stream.latency_samples)
            tail = await stream.flush()
            assert tail.shape[-1] == stream.latency_samples
        assert not stream.connected
        with pytest.raises(BridgeError, match="closed"):
            await stream.process(audio)

    asyncio.run(run())
    server.end()


def test_nothing_is_left_of_many_streams(server, music, nothing_left):
    block = music(2, 512)
    for _ in range(5):
        with BridgeClient(socket=server.address.path) as client:
            streams = [client.open("drums", RATE, 2, "track") for _ in range(4)]
            for stream in streams:
                stream.process(block)
            streams[0].close()
            streams[0].close()
            assert "3 streams" in repr(client)

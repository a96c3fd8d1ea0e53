"""The contract "realtime": never waits, never silent, never out of time."""

import asyncio
import threading

import numpy as np
import pytest

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


def test_answers_in_time_are_those_of_the_engine(client, local, feed, music, played, settle):
    audio = music(2, 60_000)
    stream = client.open("drums", RATE, 2, ROOMY, slack=SLACK)
    engine = StreamingSeparator("drums", RATE, 2, ROOMY, local)
    assert stream.latency_samples == engine.latency_samples + SLACK
    parts = played()
    parts.play(stream, audio, between=lambda: settle(stream))
    out = np.concatenate([parts.out, stream.flush()], -1)
    sent = parts.mixture
    expected = feed(engine, sent, flush=True)
    assert np.array_equal(out[:, SLACK:], expected)
    assert not out[:, :SLACK].any()
    assert stream.dry_frames == 0


def test_a_bounce_between_live_blocks(client, feed, music, played, settle):
    audio = music(2, 120_000)
    stream = client.open("drums", RATE, 2, ROOMY, slack=SLACK, outputs="target+residual")
    latency = stream.latency_samples
    # Opened for a bounce, its hops lie where those of the only live stream do.
    reference = client.open(
        "drums", RATE, 2, ROOMY, "render", slack=SLACK, outputs="target+residual"
    )
    expected = feed(reference, audio, flush=True)
    assert reference.latency_samples == latency and reference.dry_frames == 0
    parts = played()
    parts.play(stream, audio[:, :40_960], between=lambda: settle(stream))
    stream.contract = "render"
    parts.play(stream, audio[:, 40_960:81_920])
    stream.contract = "realtime"
    parts.play(stream, audio[:, 81_920:], between=lambda: settle(stream))
    out = np.concatenate([parts.out, stream.flush()], -1)
    assert stream.statistics()["server"]["contract"] == "realtime"
    assert np.array_equal(out[..., : audio.shape[1]], expected[..., : audio.shape[1]])
    stream.contract = "render"
    assert np.array_equal(feed(stream, audio, flush=True), expected)


def test_late_answers_are_the_mixture(fake, music, played, settle):
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
        parts = played()
        parts.play(stream, audio, size=500)
        dry = parts.out
        assert np.array_equal(dry[:, delay:], parts.mixture[:, : dry.shape[1] - delay])
        assert stream.dry_frames == dry.shape[1] - delay
        begun.set()
        settle(stream)
        before = stream.dry_frames
        more = played()
        more.play(stream, audio, size=500, between=lambda: settle(stream))
        sent = np.concatenate([parts.mixture, more.mixture], -1)
        late = sent[:, dry.shape[1] - delay :][:, : more.out.shape[1]]
        # Answers for the frames to be played were there: half of them, after the fade.
        assert np.array_equal(more.out[:, FADE:], 0.5 * late[:, FADE:])
        assert stream.dry_frames == before


def test_a_change_that_is_refused_late_was_never_asked_for(bridge_server, music, tmp_path, played):
    """Neither is the change before it taken back, nor is a new server asked for it again."""
    server = bridge_server(UnixAddress(tmp_path / "s"))
    too_many, wanted = ["rain"] * 17, Settings("wind", strength=2.0)
    audio = music(2, 8000)
    with running(server) as address, BridgeClient(address.path) as client:
        stream = client.open("drums", RATE, 2, ROOMY, slack=SLACK)

        def settled():
            return stream.connected and not stream._asked.pending

        stream.set_queries("wind")
        stream.set_queries(too_many)
        stream.strength = 2.0
        assert (len(stream.settings.queries), stream.strength) == (17, 2.0)
        played().play(stream, audio, until=settled)
        assert stream.settings == wanted
        assert "queries" in str(stream.last_error)
        # Now the connection goes while such a change is on its way.
        stream._link.abort()
        stream.set_queries(too_many)
        stream.remainder_db = -20.0
        played().play(stream, audio, until=lambda: stream.reconnects)
        played().play(stream, audio, until=settled)
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

"""Servers that die or stop, and come back, under streams in real time."""

import asyncio
import contextlib

import numpy as np
import pytest

from audiosep_core.errors import BridgeError
from plugin_bridge import (
    AsyncBridgeClient,
    BridgeClient,
    StreamingSeparator,
)

RATE = 48_000
FADE = 480
#: The mode that leaves room for so long a slack.
ROOMY = "mix"
#: Frames enough for the slowest machine to answer in.
SLACK = RATE


def killed_and_started_again(server, stream, music, played, settle):
    """Blocks before, during and after an outage: all pairs, and when the server was away."""
    audio = music(2, 96_000)
    parts = played()
    parts.play(stream, audio, between=lambda: settle(stream))
    server.kill()
    gone = len(parts.blocks) * 512
    parts.play(stream, audio)
    assert not stream.connected and stream.dry_frames > 0
    server.start()
    parts.play(stream, audio, until=lambda: stream.connected)
    back = len(parts.blocks) * 512
    parts.play(stream, audio, between=lambda: settle(stream))
    return parts, gone, back


def test_a_killed_server_is_survived(start, local, music, feed, nothing_left, played, settle):
    server = start()
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2, ROOMY, slack=SLACK, outputs="target+residual")
        delay = stream.latency_samples
        stream.set_queries("wind")
        stream.strength = 2.0
        parts, gone, back = killed_and_started_again(server, stream, music, played, settle)
        parts.assert_in_time(delay)
        out, mixture = parts.out, parts.mixture
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


def test_a_bounce_right_after_an_outage_is_refused(start, music, played):
    server = start()
    audio = music(2, 10_240)
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2, ROOMY, slack=4800)
        played().play(stream, audio)
        server.kill()
        played().play(stream, audio)
        server.start()
        played().play(stream, audio, until=lambda: stream.connected)
        stream.contract = "render"
        with pytest.raises(BridgeError, match="bounce"):
            stream.process(audio)
        stream.reset()
        stream.process(audio)


def test_a_stopped_process_goes_on(start, music, played, settle):
    server = start()
    audio = music(2, 48_000)
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2, "track", outputs="target+residual")
        parts = played()
        parts.play(stream, audio, between=lambda: settle(stream))
        server.pause()
        parts.play(stream, audio)
        server.resume()
        parts.play(stream, audio, between=lambda: stream.connected and settle(stream))
        parts.assert_in_time(stream.latency_samples)
        assert stream.dry_frames > 0


def test_a_server_that_shuts_down_says_so(start, music, played):
    server = start()
    with BridgeClient(socket=server.address.path, reconnect=0) as client:
        live = client.open("drums", RATE, 2, "track")
        bounce = client.open("drums", RATE, 2, "track", "render")
        server.end()
        with pytest.raises(BridgeError, match="shuts down"):
            bounce.process(music(2, 512))
        played().play(live, music(2, 5120))
        assert not live.connected


def test_a_flush_that_is_not_whole_begins_anew(start, local, music, feed, played):
    server = start()
    audio = music(2, 96_000)
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", RATE, 2, ROOMY, slack=SLACK)
        played().play(stream, audio)
        server.kill()
        played().play(stream, audio)
        server.start()
        played().play(stream, audio, until=lambda: stream.connected)
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


def test_asyncio_survives_a_killed_server(start, music, nothing_left, played):
    server = start()
    audio = music(2, 96_000)

    async def play(stream, parts, until=None):
        count = 0
        while (count < audio.shape[1]) if until is None else not until():
            block = np.ascontiguousarray(np.take(audio, range(count, count + 480), 1, mode="wrap"))
            parts.blocks.append((block, await stream.process(block)))
            link = stream._link
            with contextlib.suppress(BridgeError):
                while not until and link and link.exchange.answered < link.exchange.last:
                    await link.wait()
            count += 480

    async def run():
        parts = played()
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
            assert np.abs(parts.blocks[-1][1][1]).max() > 0
            await stream.reset()
            again = played()
            await play(stream, again)
            again.assert_in_time(stream.latency_samples)
            tail = await stream.flush()
            assert tail.shape[-1] == stream.latency_samples
        assert not stream.connected
        with pytest.raises(BridgeError, match="closed"):
            await stream.process(audio)

    asyncio.run(run())
    server.end()

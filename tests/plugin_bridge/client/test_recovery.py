"""A render that loses its server goes on with the next one, and the file is the same."""

import asyncio
import itertools

import numpy as np
import pytest

from audiosep_core.errors import BridgeError
from plugin_bridge import AsyncBridgeClient, BridgeClient
from plugin_bridge.client.history import History
from plugin_bridge.client.snapshots import Snapshots

RATE = 48_000
BLOCK = 512
KILLS = {frame * BLOCK for frame in (20, 90, 150, 200, 260)}


@pytest.fixture
def audio(music):
    return music(2, 4 * RATE)


def stops(audio, *more):
    return sorted({0, audio.shape[1], *range(0, audio.shape[1], BLOCK), *more})


def exported(stream, audio, at=lambda frame: None, changes=None):
    """What a program writes that separates a file block by block."""
    changes, parts = changes or {}, []
    edges = stops(audio, *changes)
    for start, stop in itertools.pairwise(edges):
        at(start)
        if start in changes:
            changes[start](stream)
        parts.append(stream.process(np.ascontiguousarray(audio[:, start:stop])))
    return np.concatenate([*parts, stream.flush()], -1)


@pytest.fixture
def mortal(start):
    """A server that is killed and started again where a test says: (server, at)."""
    server = start()

    def at(frame):
        if frame in KILLS:
            server.kill()
            server.start()

    return server, at


@pytest.mark.parametrize("mode", ["track", "mix"])
def test_five_crashes_leave_no_trace(mortal, audio, mode):
    server, kill = mortal
    with BridgeClient(server.address.path) as client:
        options = {"outputs": "target+residual"}
        expected = exported(client.open("drums", RATE, 2, mode, "render", **options), audio)
        stream = client.open("drums", RATE, 2, mode, "render", **options)
        out = exported(stream, audio, kill)
        assert stream.reconnects == 5
        assert stream.failed_frames == stream.dry_frames == stream.late_frames == 0
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_changes_are_repeated_where_they_were(mortal, audio):
    server, kill = mortal
    changes = {
        60 * BLOCK: lambda stream: setattr(stream, "strength", 2.0),
        110 * BLOCK + 77: lambda stream: stream.set_queries("wind"),
        148 * BLOCK: lambda stream: stream.set_queries("rain", position=155 * BLOCK + 5),
    }
    with BridgeClient(server.address.path) as client:
        stream = client.open("drums", RATE, 2, "track", "render")
        expected = exported(stream, audio, changes=changes)
        stream = client.open("drums", RATE, 2, "track", "render")
        out = exported(stream, audio, kill, changes)
        assert stream.reconnects == 5
        assert stream.strength == 2.0 and stream.settings.texts == ["rain"]
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_a_crash_at_the_end_costs_no_tail(start, audio):
    server = start()
    with BridgeClient(server.address.path) as client:
        stream = client.open("drums", RATE, 2, "track", "render")
        expected = exported(stream, audio)
        parts = [stream.process(audio)]
        server.kill()
        server.start()
        parts.append(stream.flush())
        assert stream.reconnects == 1
        np.testing.assert_allclose(np.concatenate(parts, -1), expected, atol=1e-6)
        # What comes next is a recording of its own.
        again = exported(stream, audio)
    np.testing.assert_allclose(again, expected, atol=1e-6)


def test_a_bounce_behind_an_outage_of_live_use_is_whole(start, audio):
    server = start()
    with BridgeClient(server.address.path) as client:
        options = {"slack": 18_000, "outputs": "target+residual"}
        whole = client.open("drums", RATE, 2, "mix", "render", **options)
        expected = whole.process(audio)
        stream = client.open("drums", RATE, 2, "mix", "render", **options)
        parts = [stream.process(audio[:, :RATE])]
        stream.contract = "realtime"
        server.kill()
        parts.append(stream.process(audio[:, RATE : RATE + BLOCK]))
        stream.contract = "render"
        server.start()
        parts.append(stream.process(audio[:, RATE + BLOCK :]))
        # What lay in the slack was played, and the rest was sent again.
        assert stream.dry_frames == stream.failed_frames == 0
    np.testing.assert_allclose(np.concatenate(parts, -1), expected, atol=1e-6)


@pytest.mark.parametrize("missing", ["mixture", "silence"])
def test_without_a_server_a_render_says_so_and_plays_what_was_chosen(start, audio, capfd, missing):
    server = start()
    with BridgeClient(server.address.path, reconnect=0) as client:
        stream = client.open("drums", RATE, 2, "track", "render", missing=missing)
        first = stream.process(audio[:, :RATE])
        server.kill()
        rest = stream.process(audio[:, RATE:])
        tail = stream.flush()
        late = stream.latency_samples
        assert stream.failed_frames == stream.dry_frames == rest.shape[1] + tail.shape[1]
        assert stream.statistics()["failed_frames"] == stream.failed_frames
    said = capfd.readouterr().err
    assert said.count("this render is not whole") == 1
    assert "audiosep serve" in said
    out = np.concatenate([first, rest, tail], -1)[:, late:]
    settled = slice(RATE - late + 480, None)
    expected = audio if missing == "mixture" else np.zeros_like(audio)
    np.testing.assert_array_equal(out[:, settled], expected[:, settled])
    # The step at the loss is none that could be heard.
    edge = out[:, RATE - late - 1 : RATE - late + 1]
    np.testing.assert_allclose(edge[:, 1], edge[:, 0], atol=1e-6)


def test_without_a_server_a_render_is_an_error(start, audio):
    server = start()
    with BridgeClient(server.address.path, reconnect=0) as client:
        with pytest.raises(ValueError, match="missing"):
            client.open("drums", RATE, 2, contract="render", missing="noise")
        stream = client.open("drums", RATE, 2, "track", "render")
        stream.process(audio[:, :RATE])
        server.kill()
        for call in (lambda: stream.process(audio[:, RATE:]), stream.flush, stream.reset):
            with pytest.raises(BridgeError, match="audiosep serve"):
                call()


def test_a_server_that_dies_of_what_it_hears_is_given_up(fake, audio):
    def die(server, link, protocol):
        for _ in server.blocks(link, protocol):
            link.close()
            return

    server = fake(die)
    with BridgeClient(server.address.path) as client:
        stream = client.open("drums", RATE, 2, contract="render")
        with pytest.raises(BridgeError, match="lost"):
            stream.process(audio[:, :BLOCK])
    assert 2 < len(server.links) < 40


def test_asyncio(mortal, audio):
    server, kill = mortal

    async def export(client, at=lambda frame: None):
        stream = await client.open("drums", RATE, 2, "track", "render")
        parts = []
        for start in range(0, audio.shape[1], BLOCK):
            at(start)
            if start == 130 * BLOCK:
                stream.strength = 2.0
            parts.append(await stream.process(audio[:, start : start + BLOCK]))
        parts.append(await stream.flush())
        assert stream.failed_frames == stream.dry_frames == 0
        return np.concatenate(parts, -1), stream.reconnects

    async def run():
        async with AsyncBridgeClient(server.address.path) as client:
            return await export(client), await export(client, kill)

    (expected, none), (out, reconnects) = asyncio.run(run())
    assert (none, reconnects) == (0, 5)
    np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize("model", ["mini", "live"])
def test_what_the_network_remembers_is_handed_over(start, music, model, monkeypatch):
    server = start()
    audio = music(1, 13 * RATE)
    # Far less is held than the network heard: what it remembers is all in the snapshots.
    monkeypatch.setattr("plugin_bridge.client.history.History.last", _last_seconds(6.5))
    kills = {RATE * seconds // BLOCK * BLOCK for seconds in (7, 8, 12)}
    changes = {
        5 * RATE: lambda stream: setattr(stream, "strength", 2.0),
        7 * RATE - 50_000: lambda stream: stream.set_queries("wind"),
        8 * RATE: lambda stream: stream.set_queries("rain", position=12 * RATE - 9_000),
    }

    def at(frame):
        if frame in kills:
            server.kill()
            server.start()

    with BridgeClient(server.address.path) as client:
        options = {"outputs": "target+residual", "model": model}
        expected = exported(
            client.open("drums", RATE, 1, "render", "render", **options), audio, changes=changes
        )
        stream = client.open("drums", RATE, 1, "render", "render", **options)
        out = exported(stream, audio, at, changes)
        assert stream.reconnects == 3
    np.testing.assert_array_equal(out, expected)


def test_asyncio_hands_it_over(start, music, monkeypatch):
    server = start()
    audio = music(1, 8 * RATE)
    monkeypatch.setattr("plugin_bridge.client.history.History.last", _last_seconds(6.5))

    async def export(client, killed):
        stream = await client.open("drums", RATE, 1, "render", "render")
        parts = []
        for start in range(0, audio.shape[1], BLOCK):
            if start == killed:
                server.kill()
                server.start()
            parts.append(await stream.process(audio[:, start : start + BLOCK]))
        return np.concatenate([*parts, await stream.flush()], -1), stream.reconnects

    async def run():
        async with AsyncBridgeClient(server.address.path) as client:
            return await export(client, -1), await export(client, 7 * RATE // BLOCK * BLOCK)

    (expected, none), (out, reconnects) = asyncio.run(run())
    assert (none, reconnects) == (0, 1)
    np.testing.assert_array_equal(out, expected)


def _last_seconds(most):
    last = History.last

    def limited(self, count):
        assert count <= most * RATE, "more was sent again than there had to be"
        return last(self, count)

    return limited


def test_a_snapshot_that_is_refused_is_done_without(start, music, monkeypatch):
    server = start()
    audio = music(1, 8 * RATE)
    with BridgeClient(server.address.path) as client:
        stream = client.open("drums", RATE, 1, "render", "render")
        expected = exported(stream, audio)
        add = Snapshots.add
        # As of another model.
        spoilt = lambda self, data: add(self, data[:16] + bytes(32) + data[48:])  # noqa: E731
        monkeypatch.setattr(Snapshots, "add", spoilt)

        def at(frame):
            if frame == 6 * RATE // BLOCK * BLOCK:
                server.kill()
                server.start()

        out = exported(stream, audio, at)
        # The second time without the snapshot, and all that was heard again.
        assert stream.reconnects == 2
    np.testing.assert_array_equal(out, expected)

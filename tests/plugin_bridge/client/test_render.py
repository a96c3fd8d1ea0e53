"""The contract "render": what comes over the bridge is what the engine gives, to the bit."""

import asyncio
import itertools
import math
import threading

import numpy as np
import pytest

from audiosep_core.errors import BridgeError, BundleError, ModeError, QueryError
from plugin_bridge import (
    AsyncBridgeClient,
    BridgeClient,
    Query,
    StreamingSeparator,
    Windows,
    WindowSeconds,
)

QUERIES = ["drums", Query("wind", gain_db=-6), Query("rain", negative=True)]
RANDOM = tuple(int(size) for size in np.random.default_rng(5).integers(1, 3000, 50))


def engine(local, queries=("drums",), rate=48_000, channels=2, mode="track", **settings):
    return StreamingSeparator(list(queries), rate, channels, mode, local, **settings)


@pytest.mark.parametrize("sizes", [(512,), (64,), (441, 1), RANDOM, (40_000,)])
def test_partitions(client, local, feed, music, sizes):
    audio = music(2, 40_000)
    expected = feed(engine(local), audio, (4096,), flush=True)
    stream = client.open(["drums"], 48_000, 2, "track", "render")
    for _ in range(2):
        assert np.array_equal(feed(stream, audio, sizes, flush=True), expected)
    assert np.abs(expected).max() > 1e-3
    assert stream.dry_frames == stream.substituted_blocks == 0


@pytest.mark.parametrize("rate", [44_100, 96_000])
@pytest.mark.parametrize("mode", ["mix", "track"])
@pytest.mark.parametrize("outputs", ["target", "target+residual", "stems"])
def test_rates_modes_and_outputs(client, local, feed, music, rate, mode, outputs):
    audio = music(1, rate // 3)
    settings = {"outputs": outputs, "strength": 1.5, "remainder_db": -20.0}
    expected = engine(local, QUERIES, rate, 1, mode, **settings)
    with client.open(QUERIES, rate, 1, mode, "render", **settings) as stream:
        assert stream.latency_samples == expected.latency_samples
        assert (stream.sample_rate, stream.channels) == (rate, 1)
        out = feed(stream, audio, (1000,), flush=True)
        assert np.array_equal(out, feed(expected, audio, (1000,), flush=True))


@pytest.mark.parametrize("mode", [WindowSeconds(0.13, 0.2, 0.1), "track"])
def test_windows_of_ones_own(start, windowed, feed, music, mode):
    server = start("--model", str(windowed.bundle.folder))
    audio = music(1, 30_000)
    expected = engine(windowed, rate=44_100, channels=1, mode=mode)
    with BridgeClient(socket=server.address.path) as client:
        stream = client.open("drums", 44_100, 1, mode, "render")
        assert stream.latency_samples == expected.latency_samples
        out = feed(stream, audio, (1000,), flush=True)
    # The server computes with another number of threads.
    np.testing.assert_allclose(out, feed(expected, audio, (1000,), flush=True), atol=1e-6)


def test_mode_render(client, local, feed, music):
    audio = music(1, 20_000)
    stream = client.open("drums", 32_000, 1, "render", "render")
    expected = engine(local, rate=32_000, channels=1, mode="render")
    assert np.array_equal(feed(stream, audio, flush=True), feed(expected, audio, flush=True))


CHANGES = {
    7_000: lambda stream: stream.set_queries([Query("wind", gain_db=float("-inf")), "rain"]),
    14_336: lambda stream: setattr(stream, "strength", 2.5),
    14_337: lambda stream: setattr(stream, "remainder_db", -6.0),
    30_000: lambda stream: stream.set_queries(["drums", Query("wind", solo=True)]),
}


def with_changes(stream, audio, changes):
    parts = []
    stops = sorted({0, audio.shape[1], *range(0, audio.shape[1], 512), *changes})
    for start, stop in itertools.pairwise(stops):
        changes.get(start, lambda stream: None)(stream)
        parts.append(stream.process(np.ascontiguousarray(audio[:, start:stop])))
    return np.concatenate([*parts, stream.flush()], -1)


def test_changes(client, local, music):
    audio = music(2, 45_000)
    settings = {"outputs": "target+residual"}
    stream = client.open(["drums", "wind"], 48_000, 2, "track", "render", **settings)
    out = with_changes(stream, audio, CHANGES)
    expected = with_changes(engine(local, ["drums", "wind"], **settings), audio, CHANGES)
    assert np.array_equal(out, expected)
    assert (stream.strength, stream.remainder_db) == (2.5, -6.0)


def test_changes_announced_for_a_position(client, local, music):
    audio = music(2, 45_000)
    stream = client.open("drums", 48_000, 2, "track", "render")
    stream.set_queries("wind", position=10_007)
    stream.set_queries("rain", position=31_111)
    out = with_changes(stream, audio, {})
    changes = {
        10_007: lambda engine: engine.set_queries("wind"),
        31_111: lambda engine: engine.set_queries("rain"),
    }
    assert np.array_equal(out, with_changes(engine(local), audio, changes))


def test_the_remainder_is_taken_away(client, feed, music):
    audio = music(1, 40_000)
    stream = client.open("drums", 32_000, 1, "track", "render", remainder_db=0.0)
    with_all = feed(stream, audio, flush=True)
    stream.remainder_db = -math.inf
    assert stream.remainder_db == -math.inf
    without = feed(stream, audio, flush=True)
    plain = feed(client.open("drums", 32_000, 1, "track", "render"), audio, flush=True)
    assert np.abs(without[:, 20_000:] - plain[:, 20_000:]).max() < 1e-6
    assert np.abs(with_all - plain).max() > 1e-3


def test_reset_forgets_all_sound(client, feed, music):
    audio = music(2, 30_000)
    stream = client.open("drums", 48_000, 2, "track", "render")
    expected = feed(stream, audio)
    stream.reset()
    assert np.array_equal(feed(stream, audio), expected)


def test_broken_blocks_become_silence(client, local, feed, music):
    audio = music(2, 30_000)
    audio[1, 5000] = np.nan
    audio[0, 9000] = 1e30
    stream, expected = client.open("drums", 48_000, 2, "track", "render"), engine(local)
    out = feed(stream, audio)
    assert np.array_equal(out, feed(expected, audio))
    assert stream.replaced_blocks == expected.replaced_blocks == 2


def test_long_blocks_go_in_several_messages(client, local, feed, music):
    audio = music(2, 30_000)
    stream = client.open("drums", 48_000, 2, "track", "render", max_block=100)
    assert np.array_equal(
        feed(stream, audio, (7000,), True), feed(engine(local), audio, (1,), True)
    )


def test_asyncio(server, local, feed, music):
    audio = music(2, 45_000)
    expected = with_changes(
        engine(local, ["drums", "wind"], outputs="target+residual"), audio, CHANGES
    )

    async def run():
        parts = []
        async with AsyncBridgeClient(socket=server.address.path) as client:
            stream = await client.open(
                ["drums", "wind"], 48_000, 2, "track", "render", outputs="target+residual"
            )
            await stream.process(audio[:, :1000].copy())
            await stream.reset()
            stops = sorted({0, audio.shape[1], *range(0, audio.shape[1], 512), *CHANGES})
            for start, stop in itertools.pairwise(stops):
                change = CHANGES.get(start, lambda stream: None)(stream)
                if change is not None:
                    await change
                parts.append(await stream.process(np.ascontiguousarray(audio[:, start:stop])))
            parts.append(await stream.flush())
            figures = await stream.statistics()
            assert figures["server"]["latency"] == stream.latency_samples
            assert (await client.statistics())["clients"] >= 1
            assert "audiosep" in await client.statistics(prometheus=True)
        return np.concatenate(parts, -1)

    assert np.array_equal(asyncio.run(run()), expected)


def test_streams_on_many_threads(client, local, feed, music):
    audio = music(2, 40_000)
    expected = feed(engine(local), audio, flush=True)
    results = []

    def run():
        with client.open("drums", 48_000, 2, "track", "render") as stream:
            results.append(feed(stream, audio, flush=True))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Windows that are computed together may differ in the last bits.
    assert len(results) == 4
    assert all(np.abs(result - expected).max() < 1e-5 for result in results)


def test_tcp(start, local, feed, music, monkeypatch, tmp_path):
    server = start("--tcp", "0")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    audio = music(2, 20_000)
    expected = feed(engine(local), audio)
    with BridgeClient(tcp=server.address.port) as client:
        stream = client.open("drums", 48_000, 2, "track", "render")
        assert np.array_equal(feed(stream, audio), expected)

    async def run():
        async with AsyncBridgeClient(tcp=server.address.port) as client:
            stream = await client.open("drums", 48_000, 2, "track", "render")
            return await stream.process(audio)

    assert np.array_equal(asyncio.run(run()), expected)
    with (
        BridgeClient(tcp=server.address.port, token="0" * 64) as client,
        pytest.raises(BridgeError, match="token"),
    ):
        client.open("drums", 48_000, 2)


def test_statistics(client, feed, music):
    stream = client.open("drums", 48_000, 2, "track", "render")
    feed(stream, music(2, 5000))
    figures = stream.statistics()
    assert figures["connected"] and figures["server"]["position"] == 5000
    assert figures["latency_samples"] == stream.latency_samples
    assert client.statistics()["clients"] >= 1
    assert client.statistics(prometheus=True).startswith("#")


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"queries": ""}, QueryError, "empty"),
        ({"queries": []}, QueryError, "no query"),
        ({"queries": Query("wind", negative=True)}, QueryError, "negative"),
        ({"queries": ["x"] * 99}, ValueError, "queries"),
        ({"sample_rate": 0}, ValueError, "sample_rate"),
        ({"sample_rate": 10**7}, ValueError, "sample_rate"),
        ({"channels": 0}, ValueError, "channels"),
        ({"channels": 1.5}, ValueError, "channels"),
        ({"channels": 1000}, ValueError, "channels"),
        ({"mode": "fast"}, ModeError, "fast"),
        ({"mode": Windows(8, 8, 8)}, ModeError, "WindowSeconds"),
        ({"model": "no such"}, BundleError, "no such"),
        ({"outputs": "everything"}, ValueError, "outputs"),
        ({"contract": "whenever"}, ValueError, "contract"),
        ({"strength": 0}, ValueError, "strength"),
        ({"remainder_db": math.nan}, ValueError, "remainder_db"),
        ({"slack": -1}, ValueError, "slack"),
        ({"max_block": 0}, ValueError, "max_block"),
        ({"slack": 0, "contract": "realtime"}, ValueError, "slack"),
    ],
)
def test_impossible_streams(client, nothing_left, arguments, error, message):
    given = {"queries": "drums", "sample_rate": 48_000, "channels": 2, "contract": "render"}
    with pytest.raises(error, match=message):
        client.open(**{**given, **arguments})


@pytest.mark.parametrize(
    "block, error, message",
    [
        (np.zeros((2, 64), np.int32), TypeError, "int32"),
        (np.zeros((1, 64), np.float32), ValueError, r"\(2, frames\)"),
        (np.zeros((64, 2), np.float32), ValueError, r"give its \.T"),
    ],
)
def test_impossible_blocks_leave_the_stream_alone(client, feed, music, block, error, message):
    audio = music(2, 20_000)
    stream = client.open("drums", 48_000, 2, "track", "render")
    expected = feed(stream, audio)
    stream.reset()
    first = feed(stream, audio[:, :10_240])
    with pytest.raises(error, match=message):
        stream.process(block)
    second = feed(stream, audio[:, 10_240:])
    assert np.array_equal(np.concatenate([first, second], -1), expected)


def test_blocks_however_they_lie_in_memory(client, feed, music):
    audio = music(2, 20_000)
    stream = client.open("drums", 48_000, np.int64(2), "track", "render")
    expected = feed(stream, audio)
    stream.reset()
    turned = np.ascontiguousarray(audio.T)
    parts = [stream.process(turned[:4_000].T), stream.process(audio[:, 4_000:4_000])]
    parts += [stream.process(audio[:, 4_000:10_000].astype(np.float64))]
    parts += [stream.process(audio[:, 10_000:])]
    assert np.array_equal(np.concatenate(parts, -1), expected)
    mono = client.open("drums", 48_000, 1, "track", "render", outputs="target+residual")
    assert mono.process(audio[0]).shape == (2, 20_000)


def test_impossible_changes_change_nothing(client, feed, music):
    audio = music(1, 30_000)
    stream = client.open(["drums", "wind"], 32_000, 1, "track", "render", outputs="stems")
    expected = feed(stream, audio)
    stream.reset()
    for queries, message in ((["drums"], "2 stems"), ([" "], "empty"), ([], "no query")):
        with pytest.raises(ValueError, match=message):
            stream.set_queries(queries)
    with pytest.raises(ValueError, match="strength"):
        stream.strength = -1
    with pytest.raises(ValueError, match="slack"):
        stream.contract = "realtime"
    assert stream.strength == 1 and stream.contract == "render"
    assert np.array_equal(feed(stream, audio), expected)


def test_what_only_the_server_refuses_comes_with_the_next_block(client, feed, music):
    audio = music(1, 30_000)
    stream = client.open(["drums"], 32_000, 1, "track", "render")
    expected = feed(stream, audio)
    stream.reset()
    first = feed(stream, audio[:, :1024])
    stream.set_queries(["wind"] * 99)
    with pytest.raises(ValueError, match="queries"):
        stream.process(audio[:, 1024:2048].copy())
    rest = feed(stream, audio[:, 2048:])
    assert np.array_equal(first, expected[:, :1024])
    assert np.array_equal(rest, expected[:, 2048:])
    assert "queries" in str(stream.last_error)

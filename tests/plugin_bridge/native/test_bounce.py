"""What a host that bounces gets of the C client: changes in time, and every frame."""

import numpy as np
import pytest

from plugin_bridge import BridgeClient

QUERIES = ["drums", "wind"]


def bounced(client, audio, at=lambda frame: None, block=512):
    """On the mixture's time line; ``at`` is called before every block."""
    delay = client.latency
    padded = np.pad(audio, ((0, 0), (0, delay)))
    out = []
    for start in range(0, padded.shape[1], block):
        at(start)
        out.append(client.process(np.ascontiguousarray(padded[:, start : start + block])))
    return np.concatenate(out, -1)[:, delay:]


@pytest.fixture
def audio(music):
    return music(2, 48_000 * 4)


def opened(c_client, server, **fields):
    return c_client(server.address, QUERIES, 48_000, 2, **{"contract": "render", **fields})


def test_levels_move_with_the_frame_that_they_came_with(c_client, server, audio):
    position = 150 * 512
    with opened(c_client, server) as client:
        plain = bounced(client, audio)
    with opened(c_client, server, target=0.0, residual=1.0) as client:
        after = bounced(client, audio)
    with opened(c_client, server) as client:
        out = bounced(
            client, audio, lambda frame: frame == position and client.set_levels(0.0, 1.0)
        )
        assert client.stats.dry == client.stats.failed == 0
    np.testing.assert_array_equal(out[:, :position], plain[:, :position])
    assert (out != plain)[:, position : position + 2].any()
    np.testing.assert_allclose(out[:, position + 480 :], after[:, position + 480 :], atol=1e-6)


def test_a_query_and_a_level_that_are_drawn_together_are_heard_together(c_client, server, audio):
    position = 100 * 512
    with opened(c_client, server) as client:
        plain = bounced(client, audio)
    with opened(c_client, server) as client:
        out = bounced(client, audio, lambda frame: frame == position and client.select(1))
    changed = np.abs(out - plain).max(0) > 1e-6
    assert position <= int(np.argmax(changed)) < position + 16


def test_a_server_that_dies_of_a_bounce_five_times_leaves_no_trace(c_client, start, audio):
    server = start()
    with opened(c_client, server) as client:
        expected = bounced(client, audio)
    kills = {frame * 512 for frame in (20, 90, 200, 300, 430)}

    def kill(frame):
        if frame in kills:
            server.kill()
            server.start()

    with opened(c_client, server) as client:
        out = bounced(client, audio, kill)
        stats = client.stats
    assert (stats.failed, stats.dry, stats.connections) == (0, 0, 6)
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_changes_are_repeated_where_they_were(c_client, start, audio):
    server = start()
    changes = {60 * 512: lambda c: c.select(1), 110 * 512: lambda c: c.set_strength(2.0)}

    def run(client, kill=False):
        def at(frame):
            if frame in changes:
                changes[frame](client)
            if kill and frame == 160 * 512:
                server.kill()
                server.start()

        return bounced(client, audio, at)

    with opened(c_client, server) as client:
        expected = run(client)
    with opened(c_client, server) as client:
        out = run(client, kill=True)
    np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize("silence", [0, 1])
def test_without_a_server_a_bounce_fails_aloud(c_client, tmp_path, audio, capfd, silence):
    from plugin_bridge.address import UnixAddress

    nowhere = UnixAddress(tmp_path / "nobody.sock")
    options = {"render_timeout_ms": 50, "latency": 4800, "silence": silence}
    with c_client(nowhere, QUERIES, 48_000, 2, contract="render", **options) as client:
        out = bounced(client, audio)
        assert client.stats.failed == client.stats.dry == audio.shape[1]
    assert "this render is not whole" in capfd.readouterr().err
    np.testing.assert_array_equal(out[:, : audio.shape[1]], 0 if silence else audio)


def test_a_host_that_renders_without_saying_so_gets_every_frame(c_client, start, audio):
    server = start()
    with opened(c_client, server, contract="auto") as client:
        out = bounced(client, audio)
        assert client.stats.dry == client.stats.failed == 0
    with opened(c_client, server) as client:
        expected = bounced(client, audio)
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_a_slack_of_nothing_is_enough_for_neither_contract(c_client, server, audio):
    with c_client(server.address, QUERIES, 48_000, 2, slack=0) as client:
        assert client.stats.connected
        client.set_contract("render")
        out = bounced(client, audio)
        assert client.stats.failed == 0
    assert np.abs(out).max() > 1e-3


def test_the_same_passage_from_another_place_of_the_transport(c_client, start, windowed, audio):
    """Of a network of windows; one that remembers hears another past."""
    server, later = start("--model", str(windowed.bundle.folder)), 70_001
    audio = audio / (2 * np.abs(audio).max())
    outs = []
    for origin, part in ((5000, audio), (5000 + later, audio[:, later:])):
        with opened(c_client, server, mode="track") as client:
            client.locate(origin)
            outs.append(bounced(client, np.ascontiguousarray(part)))
    roll = int(1.3 * 48_000)
    count = min(outs[1].shape[1], outs[0].shape[1] - later)
    null = outs[0][:, later : later + count] - outs[1][:, :count]
    assert np.abs(null[:, roll:]).max() < 1e-6


def test_what_the_network_remembers_is_handed_over(c_client, start, music):
    server = start()
    audio = music(2, 48_000 * 9)
    kills = {48_000 * seconds // 512 * 512 for seconds in (7, 8)}
    changes = {
        48_000 * 5 // 512 * 512: lambda client: client.set_strength(2.0),
        48_000 * 6 // 512 * 512: lambda client: client.select(1),
    }

    def changed(client, kill=False):
        def at(frame):
            changes.get(frame, lambda client: None)(client)
            if kill and frame in kills:
                server.kill()
                server.start()

        return bounced(client, audio, at)

    with opened(c_client, server) as client:
        expected = changed(client)
    with opened(c_client, server) as client, BridgeClient(server.address.path) as other:
        out = changed(client, kill=True)
        stats = client.stats
        (stream,) = other.statistics()["streams"]
    assert (stats.failed, stats.dry, stats.connections) == (0, 0, 3)
    # Of 8 s that were heard the last server was given 3 again, and one that was new.
    assert stream["blocks"] < 200
    np.testing.assert_array_equal(out, expected)

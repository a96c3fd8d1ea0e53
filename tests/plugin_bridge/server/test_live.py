"""Streams that are played through: the model and the latency of mode "live", in every client."""

import re
from pathlib import Path

import numpy as np
import pytest

import plugin_bridge
from audiosep_core import Separator
from plugin_bridge import BridgeClient, StreamingSeparator

PAGE = Path(plugin_bridge.__file__).parent / "PROTOCOL.md"
RATES = [44_100, 48_000, 88_200, 96_000, 192_000]
#: All that one hears of playing through it, in seconds.
MOST = 0.035


@pytest.fixture(scope="module")
def live():
    """Makes engines of the model that is played through."""
    model = Separator("live", device="cpu", threads=1)
    return lambda rate: StreamingSeparator("drums", rate, 2, "live", model)


@pytest.mark.parametrize("rate", RATES)
def test_no_model_named_takes_one_that_is_in_time(server, peer, live, feed, music, rate):
    audio = music(2, rate // 2)
    with peer(server.address) as client:
        asked = {"mode": "live", "sample_rate": rate, "slack": None}
        opened = client.open(contract="realtime", **asked)
        assert opened.model == "live"
        assert type(opened.latency) is type(opened.slack) is int
        assert opened.slack >= 0.01 * rate
        assert opened.latency + opened.slack <= MOST * rate
        assert client.open(stream=2, **asked) == opened
        engine = live(rate)
        assert opened.latency == engine.latency_samples
        client.send(client.protocol.audio(2, audio[:, :4096]))
        np.testing.assert_array_equal(client.audio().rows[0], engine.process(audio[:, :4096]))


def test_a_model_of_ones_own_must_be_in_time(server, peer):
    with peer(server.address) as client, pytest.raises(peer.refused, match="live"):
        client.open(mode="live", model="mini")


@pytest.mark.parametrize("rate", RATES)
def test_the_c_client_is_in_time(c_client, address, live, feed, music, rate):
    audio = music(2, rate // 2)
    with c_client(address, ["drums"], rate, 2, mode="live", contract="render") as client:
        assert client.stats.connected
        assert client.latency <= MOST * rate
        engine = live(rate)
        late = client.latency - engine.latency_samples
        expected = np.pad(feed(engine, audio), ((0, 0), (late, 0)))[:, : audio.shape[1]]
        np.testing.assert_array_equal(feed(client, audio), expected)


def test_the_c_client_names_a_model(c_client, address, live, feed, music, wait_until):
    audio = music(2, 24_000)
    options = {"mode": "track", "contract": "render"}
    with c_client(address, ["drums"], 48_000, 2, model=b"live", **options) as client:
        engine = live(48_000)
        late = client.latency - engine.latency_samples
        expected = np.pad(feed(engine, audio), ((0, 0), (late, 0)))[:, : audio.shape[1]]
        np.testing.assert_array_equal(feed(client, audio), expected)
    with c_client(address, ["drums"], 48_000, 2, model=b"nobody's", open_timeout_ms=0) as client:
        wait_until(lambda: "no model" in client.error)
        assert not client.stats.connected
    with pytest.raises(ValueError, match="refuses"):
        c_client(address, ["drums"], 48_000, 2, model=b"m" * 64)


def test_the_python_client_is_in_time(server):
    with BridgeClient(server.address.path) as client:
        stream = client.open("drums", 48_000, 2, "live")
        assert stream.latency_samples <= MOST * 48_000
        assert stream.statistics()["server"]["model"] == "live"


def test_the_page_tells_what_a_server_would(server, peer):
    """PROTOCOL.md's table of latencies, for who opens without a server."""
    table = re.search(r"^\| Hz \|(.*)\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE)
    columns = re.findall(r"`(\w+)`, (\w+)", table[1])
    assert len(columns) == 3
    for line in table[2].splitlines():
        rate, *cells = (cell.strip().replace(",", "") for cell in line.strip("|").split("|"))
        with peer(server.address) as client:
            for stream, ((model, mode), cell) in enumerate(zip(columns, cells, strict=True), 1):
                asked = {"mode": mode, "model": model, "slack": None, "contract": "realtime"}
                opened = client.open(stream=stream, sample_rate=int(rate), **asked)
                assert f"{opened.latency} + {opened.slack}" == cell

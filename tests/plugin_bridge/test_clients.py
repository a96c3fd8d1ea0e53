"""Every client gives what the engine gives, at the latency that it tells, whatever happens."""

import contextlib
import functools

import numpy as np
import pytest

from plugin_bridge import StreamingSeparator
from plugin_bridge.address import TcpAddress, UnixAddress
from plugin_bridge.client.sync.client import BridgeClient
from plugin_bridge.server.server import running

RATE = 48_000
QUERIES = ("Drum kit", "a person speaking")


class CAdapter:
    """The C client behind what the tests call."""

    def __init__(self, open_client, address, query, rate, channels, contract, residual=False):
        self._texts = [query]
        where = f"tcp:{address.port}" if isinstance(address, TcpAddress) else address
        self._client = open_client(
            where,
            [query],
            rate,
            channels,
            contract=contract,
            target=0.0 if residual else 1.0,
            residual=1.0 if residual else 0.0,
        )
        self.process = self._client.process
        self.reset = self._client.reset
        self.set_contract = self._client.set_contract
        self.set_strength = self._client.set_strength
        self.close = self._client.close

    def set_query(self, query):
        if query not in self._texts:
            assert self._client.set_slot(len(self._texts), [query]) == 0
            self._texts.append(query)
        self._client.select(self._texts.index(query))

    @property
    def delay(self):
        return self._client.latency

    @property
    def connected(self):
        return bool(self._client.stats.connected)

    @property
    def dry_frames(self):
        return self._client.stats.dry


class PythonAdapter:
    """The blocking Python client behind the same."""

    def __init__(self, address, query, rate, channels, contract, residual=False):
        if isinstance(address, TcpAddress):
            self._client = BridgeClient(tcp=address.port)
        else:
            self._client = BridgeClient(address.path)
        outputs = "target+residual" if residual else "target"
        self._stream = self._client.open(
            [query], rate, channels, contract=contract, outputs=outputs
        )
        self._row = 1 if residual else ...
        self.reset = self._stream.reset
        self.close = self._client.close

    def process(self, block):
        return self._stream.process(block)[self._row]

    def set_query(self, query):
        self._stream.set_queries([query])

    def set_strength(self, strength):
        self._stream.strength = strength

    def set_contract(self, contract):
        self._stream.contract = contract

    @property
    def delay(self):
        return self._stream.latency_samples

    @property
    def connected(self):
        return self._stream.connected

    @property
    def dry_frames(self):
        return self._stream.dry_frames


@pytest.fixture(params=["c", "python"])
def connect(request):
    """Opens a client: (address, query, rate, channels, contract, residual=False) to an adapter."""
    if request.param == "c":
        adapter = functools.partial(CAdapter, request.getfixturevalue("c_client"))
    else:
        adapter = PythonAdapter
    with contextlib.ExitStack() as stack:

        def make(*arguments, **options):
            client = adapter(*arguments, **options)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture(scope="module")
def engine(separator):
    def make(query, rate=RATE, channels=2, residual=False):
        outputs = "target+residual" if residual else "target"
        return StreamingSeparator([query], rate, channels, "mix", separator, outputs=outputs)

    return make


def late(audio, frames):
    return np.pad(audio, ((0, 0), (frames, 0)))[:, : audio.shape[1]]


@pytest.mark.parametrize(
    ("rate", "channels", "sizes"),
    [(48_000, 2, (512,)), (44_100, 1, (64, 1, 333)), (32_000, 2, (5000, 4096))],
)
def test_the_target_is_that_of_the_engine(
    connect, address, engine, feed, music, rate, channels, sizes
):
    audio = music(channels, 3 * rate)
    client = connect(address, QUERIES[0], rate, channels, "render")
    slack = client.delay - engine(QUERIES[0], rate, channels).latency_samples
    assert slack >= 0
    expected = feed(engine(QUERIES[0], rate, channels), audio)
    np.testing.assert_array_equal(feed(client, audio, sizes), late(expected, slack))
    assert client.dry_frames == 0


def test_the_residual_is_that_of_the_engine(connect, address, engine, feed, music):
    audio = music(2, 2 * RATE)
    client = connect(address, QUERIES[0], RATE, 2, "render", residual=True)
    separator = engine(QUERIES[0], residual=True)
    expected = late(feed(separator, audio)[1], client.delay - separator.latency_samples)
    np.testing.assert_array_equal(feed(client, audio), expected)


def test_a_change_takes_effect_at_its_block(connect, address, engine, feed, music):
    audio, at = music(2, 4 * RATE), 512 * 150
    client, separator = connect(address, QUERIES[0], RATE, 2, "render"), engine(QUERIES[0])
    parts = [feed(client, audio[:, :at]), feed(separator, audio[:, :at])]
    client.set_query(QUERIES[1])
    separator.set_queries([QUERIES[1]])
    client.set_strength(1.5)
    separator.strength = 1.5
    parts += [feed(client, audio[:, at:]), feed(separator, audio[:, at:])]
    expected = late(np.hstack(parts[1::2]), client.delay - separator.latency_samples)
    np.testing.assert_array_equal(np.hstack(parts[::2]), expected)


def test_a_reset_starts_anew(connect, address, engine, feed, music):
    audio = music(2, 2 * RATE)
    client = connect(address, QUERIES[0], RATE, 2, "render")
    feed(client, music(2, RATE + 100, seed=1), (300,))
    client.reset()
    separator = engine(QUERIES[0])
    expected = late(feed(separator, audio), client.delay - separator.latency_samples)
    np.testing.assert_array_equal(feed(client, audio), expected)


def test_a_contract_can_change_on_the_way(connect, address, engine, feed, music):
    audio, at = music(2, 3 * RATE), 512 * 20
    client, separator = connect(address, QUERIES[0], RATE, 2, "realtime"), engine(QUERIES[0])
    parts = [feed(client, audio[:, :at])]
    client.set_contract("render")
    parts.append(feed(client, audio[:, at:]))
    expected = late(feed(separator, audio), client.delay - separator.latency_samples)
    np.testing.assert_array_equal(np.hstack(parts), expected)


def test_broken_samples_are_silence(connect, address, feed, music):
    audio = music(2, RATE)
    audio[:, 512:1024] = np.nan
    audio[1, 2000] = np.inf
    client = connect(address, QUERIES[0], RATE, 2, "render")
    rest = np.zeros((2, client.delay), np.float32)
    out = feed(client, np.hstack([audio, rest]))
    assert np.isfinite(out).all()
    assert np.abs(out[:, client.delay + 5000 :]).max() > 0.01


def test_tcp_with_a_token(connect, bridge_server, engine, feed, music, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    audio = music(1, RATE + RATE // 2)
    with running(bridge_server(TcpAddress(0))) as bound:
        client, separator = (
            connect(bound, QUERIES[0], RATE, 1, "render"),
            engine(QUERIES[0], RATE, 1),
        )
        expected = late(feed(separator, audio), client.delay - separator.latency_samples)
        np.testing.assert_array_equal(feed(client, audio), expected)


def test_without_the_server_the_mixture_goes_on_and_with_it_the_target(
    connect, bridge_server, engine, feed, music, tmp_path, wait_until
):
    """The server goes in mid-stream and another one comes: no silence, no shift, no wait."""
    socket, block = UnixAddress(tmp_path / "s"), 512
    audio = music(2, block * 2000)
    out, at = [], 0

    def play(blocks):
        nonlocal at
        out.append(feed(client, audio[:, at : at + blocks * block], (block,)))
        at += blocks * block

    with running(bridge_server(socket)):
        client = connect(socket, QUERIES[0], RATE, 2, "realtime")
        delay = client.delay
        play(10)
    wait_until(lambda: play(1) or not client.connected)
    play(delay // block)
    gone = at
    play(20)
    with running(bridge_server(socket)):
        # The blocks here are as long as the pauses between them.
        wait_until(lambda: play(1) or client.connected)
        assert client.delay == delay
        heard, dry = np.hstack(out), late(audio[:, :at], delay)
        back = at - block
        np.testing.assert_array_equal(heard[:, gone:back], dry[:, gone:back])
        client.reset()
        client.set_contract("render")
        separator = engine(QUERIES[0])
        expected = late(feed(separator, audio[:, : 2 * RATE]), delay - separator.latency_samples)
        np.testing.assert_array_equal(feed(client, audio[:, : 2 * RATE]), expected)

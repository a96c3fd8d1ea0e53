"""What is heard when the network is late: never silence, never a shift."""

import threading

import numpy as np
import pytest

from plugin_bridge import Delta, StreamingSeparator
from plugin_bridge.address import UnixAddress
from plugin_bridge.protocol.messages import Change, QueryMessage, WindowMessage
from plugin_bridge.protocol.wire import Type
from plugin_bridge.server.server import running

HOP = 6144
#: Half a second: far more than a window takes, also where others are at work.
SLACK = 24_000
#: What "mix" has room for.
MIX_SLACK = 18_000
#: As long as those of "track" without slack, which would shorten them.
WINDOW = WindowMessage(0.128, 0.768, 0.128)


class SometimesLate:
    """An estimator that is late at the calls of those numbers."""

    def __init__(self, estimator, late):
        self.config = estimator.config
        self.calls = 0
        self._estimator = estimator
        self._late = late

    def prepare(self, rows, frames):
        pass

    def masks(self, magnitude, conditions):
        self.calls += 1
        if self.calls - 1 in self._late:
            return None
        return self._estimator.masks(magnitude, conditions)


class Gate:
    """Holds up the calls of an estimator's network, by number."""

    def __init__(self, estimator, held):
        self.calls = 0
        self.open = threading.Event()
        self._run = estimator.run
        self._held = held

    def run(self, magnitudes, conditions):
        self.calls += 1
        if self.calls - 1 in self._held:
            self.open.wait()
            self.open.clear()
        return self._run(magnitudes, conditions)


@pytest.fixture
def make_stream(windowed):
    def make(late, queries="drums", **options):
        options = {"outputs": "target+residual", **options}
        estimator = SometimesLate(windowed.estimator, late)
        return StreamingSeparator(
            queries, 48_000, 2, "track", windowed, estimator=estimator, **options
        )

    return make


def test_masks_seen_ahead_stand_in_for_late_ones(make_stream, feed, music):
    audio = music(2, 20 * HOP)
    exact = feed(make_stream(set()), audio, (HOP,))
    once = feed(make_stream({9}), audio, (HOP,))
    long = feed(make_stream(set(range(9, 14))), audio, (HOP,))
    differs = np.flatnonzero(np.abs(once - exact).max((0, 1)) > 1e-6)
    # A hop and the overlap of a frame on either side, and nothing else.
    assert 0 < differs[-1] - differs[0] <= HOP + 2 * 2304
    # What stands in is close to what would have been: the look-ahead saw the same frames.
    part = slice(differs[0], differs[-1])
    error = np.square(once[0] - exact[0])[:, part].mean()
    assert error < 0.1 * np.square(exact[0])[:, part].mean()
    for out in (once, long):
        latency = make_stream(set()).latency_samples
        delayed = np.pad(audio, ((0, 0), (latency, 0)))[:, : audio.shape[1]]
        np.testing.assert_allclose(out.sum(0), delayed, atol=1e-6)


@pytest.mark.parametrize("queries", ["drums", ["drums", "speech"]])
def test_a_stream_that_begins_late_is_the_mixture_itself(make_stream, feed, music, queries):
    audio = music(2, 8 * HOP)
    stream = make_stream(set(range(99)), queries)
    out = feed(stream, audio, (HOP,))
    latency = stream.latency_samples
    delayed = np.pad(audio, ((0, 0), (latency, 0)))[:, : audio.shape[1]]
    np.testing.assert_allclose(out[0], delayed, atol=2e-4)
    assert np.abs(out[0]).max() > 0.1


def test_a_change_waits_for_masks_that_are_in_time(make_stream, feed, music):
    audio = music(2, 20 * HOP)
    outs = []
    # Calls 10 and 11 are late: asked for before the first, and behind the second.
    for call in (10, 12):
        stream, out = make_stream({10, 11}), []
        for start in range(0, audio.shape[1], 512):
            if stream._estimator.calls == call:
                stream.set_queries("speech")
                call = -1
            out.append(stream.process(np.ascontiguousarray(audio[:, start : start + 512])))
        outs.append(np.concatenate(out, -1))
    unchanged = feed(make_stream({10, 11}), audio, (HOP,))
    differs = [np.flatnonzero(np.abs(out - unchanged).max((0, 1)) > 1e-6) for out in outs]
    # Where masks are in time again, both are heard; what was asked for later begins later.
    assert differs[0][0] < differs[1][0]
    both = slice(differs[1][0] + HOP, None)
    np.testing.assert_allclose(outs[0][..., both], outs[1][..., both], atol=1e-6)
    assert np.abs(outs[0] - unchanged).max() > 1e-3


@pytest.fixture
def gated(bridge_server, windowed, tmp_path):
    """A server whose network can be held up: (address, gate)."""

    def make(held):
        server = bridge_server(UnixAddress(tmp_path / "bridge.sock"), windowed.bundle.folder)
        estimator = server._models.own.separator.estimator
        gate = Gate(estimator, held)
        estimator.run = gate.run
        return server, gate

    return make


def test_the_server_answers_in_time_and_says_what_stood_in(gated, peer, make_stream, music):
    audio = music(2, 20 * HOP)
    server, gate = gated({7})
    local = make_stream({7})
    flags, equal = [], []
    with running(server) as address, peer(address) as client:
        client.open(
            mode=WINDOW, outputs="target+residual", contract="realtime", slack=SLACK, max_block=HOP
        )
        for hop in range(20):
            block = np.ascontiguousarray(audio[:, hop * HOP :][:, :HOP])
            client.send(client.protocol.audio(1, block))
            answer = client.audio()
            if answer.substituted:
                gate.open.set()
            flags.append(answer.substituted)
            equal.append(np.array_equal(answer.rows, local.process(block)))
        client.send(client.protocol.statistics(1))
        figures = client.answer(Type.REPORT).payload
    assert all(equal)
    assert sum(flags) == 1
    assert b'"substitutions": 1' in figures


def test_render_waits_however_long_it_takes(gated, peer, make_stream, music):
    audio = music(2, 12 * HOP)
    server, gate = gated({5})
    local = make_stream(set(), outputs="target")
    with running(server) as address, peer(address) as client:
        client.open(mode="track", max_block=HOP)
        blocks = [np.ascontiguousarray(audio[:, hop * HOP :][:, :HOP]) for hop in range(12)]
        for block in blocks:
            client.send(client.protocol.audio(1, block))
        first = [client.audio() for _ in range(4)]
        # A ping is answered while the stream waits for the network.
        client.send(client.protocol.plain(Type.PING))
        client.answer(Type.PONG)
        gate.open.set()
        answers = first + [client.audio() for _ in range(8)]
    for block, answer in zip(blocks, answers, strict=True):
        assert not answer.substituted
        np.testing.assert_array_equal(answer.rows[0], local.process(block))


def test_the_contract_changes_without_a_shift(gated, peer, windowed, music):
    audio = music(2, 16 * HOP)
    server, _ = gated(set())
    with running(server) as address, peer(address) as client:
        opened = client.open(mode="mix", contract="realtime", slack=MIX_SLACK, max_block=HOP)
        local = StreamingSeparator("drums", 48_000, 2, "mix", windowed)
        assert opened.latency == local.latency_samples
        for hop in range(16):
            if hop in (4, 12):
                contract = "render" if hop == 4 else "realtime"
                client.send(client.protocol.change(1, Change(contract=contract)))
                client.answer(Type.CHANGED)
            block = np.ascontiguousarray(audio[:, hop * HOP :][:, :HOP])
            np.testing.assert_array_equal(client.process(block), local.process(block))


def test_a_query_that_takes_long_to_encode_holds_up_no_audio(
    gated, peer, windowed, music, monkeypatch
):
    audio = music(2, 12 * HOP)
    server, _ = gated(set())
    encoder = server._models.own.separator.encoder
    encoded, embed = threading.Event(), encoder.embed

    def slowly(texts):
        if "speech" in texts:
            encoded.wait()
        return embed(texts)

    monkeypatch.setattr(encoder, "embed", slowly)
    local = StreamingSeparator("drums", 48_000, 2, "mix", windowed)
    with running(server) as address, peer(address) as client:
        client.open(mode="mix", contract="realtime", slack=MIX_SLACK, max_block=HOP)
        change = client.send(client.protocol.change(1, Change(queries=[QueryMessage("speech")])))
        for hop in range(6):
            block = np.ascontiguousarray(audio[:, hop * HOP :][:, :HOP])
            np.testing.assert_array_equal(client.process(block), local.process(block))
        encoded.set()
        changed = client.answer(Type.CHANGED)
        assert changed.sequence == change
        # Nothing of it has been heard yet, so it is heard where it was asked for.
        assert changed.message.position == 0
        local.change(Delta("speech"), 0)
        for hop in range(6, 12):
            block = np.ascontiguousarray(audio[:, hop * HOP :][:, :HOP])
            np.testing.assert_array_equal(client.process(block), local.process(block))

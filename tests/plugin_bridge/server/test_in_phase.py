"""Streams that begin together: the same sound for each, and masks in time for all."""

import itertools

import numpy as np
import pytest

from plugin_bridge import StreamingSeparator, WindowSeconds
from plugin_bridge.address import UnixAddress
from plugin_bridge.live.latency import hop_samples
from plugin_bridge.live.modes import mode_windows
from plugin_bridge.protocol.messages import Open, QueryMessage, WindowMessage
from plugin_bridge.protocol.request import StreamRequest
from plugin_bridge.server.batching import Batcher, Ticket
from plugin_bridge.server.engines import masks_within, resolve
from plugin_bridge.server.server import running

BLOCK = 6144
RATE = 48_000
#: In which no window is late, whatever else the machine does.
SLACK = 40 * RATE
WINDOW = WindowSeconds(0.128, 0.768, 0.128)
#: The same, as it is sent.
MODE = WindowMessage(WINDOW.hop, WINDOW.context, WINDOW.look_ahead)


@pytest.fixture(scope="module")
def address(bridge_server, windowed, tmp_path_factory):
    """Of a server of a model that sees windows."""
    socket = UnixAddress(tmp_path_factory.mktemp("in phase") / "s")
    with running(bridge_server(socket, windowed.bundle.folder)) as bound:
        yield bound


def test_all_of_them_are_what_a_bounce_is(address, peer, windowed, feed, music):
    audio = music(2, 16 * BLOCK)
    local = StreamingSeparator("drums", RATE, 2, WINDOW, windowed, origin=777)
    expected = feed(local, audio, (BLOCK,))
    options = {"mode": MODE, "slack": SLACK, "max_block": BLOCK, "origin": 777}
    with peer(address) as client:
        for stream in range(1, 5):
            contract = "realtime" if stream < 4 else "render"
            client.open(stream=stream, contract=contract, **options)
        outs = {stream: [] for stream in range(1, 5)}
        for block in np.split(audio, 16, axis=1):
            for stream in outs:
                client.send(client.protocol.audio(stream, block))
            for _ in outs:
                answer = client.audio()
                assert not answer.substituted
                outs[answer.stream].append(answer.rows[0])
    for out in outs.values():
        np.testing.assert_array_equal(np.concatenate(out, -1), expected)


def test_a_stream_that_comes_when_others_have_gone_is_no_other(address, peer, feed, music):
    audio = music(2, 12 * BLOCK)
    options = {"mode": MODE, "slack": SLACK, "max_block": BLOCK, "contract": "realtime"}
    outs = []
    for others in (0, 3):
        with peer(address) as crowd, peer(address) as client:
            for stream in range(1, 1 + others):
                crowd.open(stream=stream, **options)
            client.open(**options)
            outs.append(feed(client, audio, (BLOCK,)))
    np.testing.assert_array_equal(*outs)


class Clock:
    """Time that passes only while the network runs."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


class Network:
    """Takes so many seconds for each window."""

    def __init__(self, clock, seconds):
        self._clock, self._seconds = clock, seconds

    def run(self, magnitudes, conditions):
        self._clock.now += self._seconds * len(magnitudes)
        return np.ones((len(magnitudes), 3, *magnitudes.shape[1:]), np.float32)


@pytest.mark.parametrize("streams", [2, 4, 8])
def test_track_has_room_for_all_that_are_due_at_once(separator, monkeypatch, streams):
    load = 0.35  # of the network's time
    config = separator.bundle.config
    asked = Open(RATE, 2, 512, [QueryMessage("drums")], mode="track")
    slack = resolve(StreamRequest.heard(asked), separator.bundle).slack / RATE
    windows = mode_windows("track", separator.bundle, slack)
    hop = hop_samples(windows, config, RATE) / RATE
    clock = Clock()
    monkeypatch.setattr("plugin_bridge.server.batching.time", clock)
    batcher = Batcher(Network(clock, load * hop / streams), 4096, "in phase")
    magnitude = np.zeros((windows.frames, 4), np.float32)
    condition = np.zeros((1, 3), np.float32)
    late = 0
    try:
        for due in itertools.islice(itertools.count(hop, hop), 50):
            clock.now = max(clock.now, due)
            deadline = due + masks_within(slack)
            tickets = [Ticket(magnitude, condition, deadline) for _ in range(streams)]
            for ticket in tickets:
                batcher.submit(ticket)
            for ticket in tickets:
                # A ticket that was dropped is answered by nobody.
                done = ticket._done.wait(0) or batcher.dropped or ticket._done.wait(60)
                late += not done or ticket.answer is None
            late += streams * (clock.now > deadline)
    finally:
        batcher.close()
    assert batcher.dropped == 0
    assert late <= 0.02 * 50 * streams

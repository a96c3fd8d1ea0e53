"""Windows of many streams in one thread: earliest deadline first, several in a call."""

import math
import threading
import time

import numpy as np
import pytest

from plugin_bridge.server.batching import BatchedEstimator, Batcher, Ticket

BINS = 4
PATIENCE = 60


class Network:
    """Gives what it was asked back as masks; its first call waits until it may go on."""

    def __init__(self):
        self.batches = []
        self.entered = threading.Event()
        self.go = threading.Event()
        self.broken = False

    def run(self, magnitudes, conditions):
        self.batches.append(conditions[:, 0].tolist())
        self.entered.set()
        self.go.wait()
        if self.broken:
            raise RuntimeError("out of memory")
        masks = np.repeat(magnitudes[:, None], 3, 1)
        return masks * conditions[:, :1, None, None]


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def batcher(network):
    made = Batcher(network, 32, "test")
    yield made
    network.go.set()
    made.close()
    assert not made._thread.is_alive()


def ticket(number, deadline=math.inf, frames=8, queries=1):
    magnitude = np.full((frames, BINS), 2, np.float32)
    return Ticket(magnitude, np.full((queries, 3), number, np.float32), deadline)


def held_up(network, batcher):
    """A call under way, so that what comes next has to wait."""
    first = ticket(0)
    batcher.submit(first)
    assert network.entered.wait(PATIENCE)
    return first


def test_earliest_deadline_first_and_equal_lengths_together(network, batcher):
    first = held_up(network, batcher)
    soon = time.monotonic() + 1000
    tickets = [
        ticket(1, soon + 5),
        ticket(2, soon + 1, frames=16),
        ticket(3, soon + 2),
        ticket(4),
        ticket(5, soon + 3),
        ticket(6, soon + 4),
        ticket(7),
    ]
    for one in tickets:
        batcher.submit(one)
    network.go.set()
    for number, one in enumerate([first, *tickets]):
        masks = one.wait()
        assert masks.shape == (1, 3, one.frames, BINS)
        np.testing.assert_array_equal(masks, 2.0 * number)
    assert network.batches == [[0], [2], [3, 5, 6, 1], [4, 7]]
    assert (batcher.calls, batcher.windows, batcher.dropped) == (4, 8, 0)


def test_queries_count_as_rows_and_stay_together(network, batcher):
    first = held_up(network, batcher)
    tickets = [ticket(1, queries=3), ticket(2, queries=2), ticket(3, queries=1)]
    for one in tickets:
        batcher.submit(one)
    network.go.set()
    assert [one.wait().shape[0] for one in [first, *tickets]] == [1, 3, 2, 1]
    assert network.batches == [[0], [1, 1, 1, 3], [2, 2]]


def test_one_stream_may_ask_for_more_rows_than_a_batch_has(network, batcher):
    network.go.set()
    many = ticket(1, queries=9)
    batcher.submit(many)
    assert many.wait().shape[0] == 9


def test_what_is_late_is_dropped_and_nobody_waits_for_it(network, batcher):
    first = held_up(network, batcher)
    late, kept = ticket(1, time.monotonic()), ticket(2)
    batcher.submit(late)
    assert late.wait() is None
    batcher.submit(kept)
    network.go.set()
    assert first.wait() is not None and kept.wait() is not None
    assert network.batches == [[0], [2]]
    assert batcher.dropped == 1


def test_a_batch_is_no_longer_than_its_first_deadline_allows(network, batcher):
    network.go.set()
    first = ticket(0)
    batcher.submit(first)
    first.wait()
    # From here on a frame is taken to cost a tenth of a second.
    batcher._frame_seconds = 0.1
    now = time.monotonic()
    waiting = [ticket(number, now + 1.7, frames=8) for number in range(1, 4)]
    batcher._waiting.extend(waiting)
    assert batcher._choose(now) == waiting[:2]
    assert list(batcher._waiting) == waiting[2:]
    batcher._waiting.clear()


def test_an_error_reaches_who_waits_and_the_thread_goes_on(network, batcher):
    network.go.set()
    network.broken = True
    broken = ticket(1)
    batcher.submit(broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        broken.wait()
    network.broken = False
    whole = ticket(2)
    batcher.submit(whole)
    assert whole.wait() is not None


def test_closing_lets_nobody_wait(network):
    batcher = Batcher(network, 32, "test")
    held_up(network, batcher)
    waiting = ticket(1)
    batcher.submit(waiting)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    network.go.set()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert waiting.wait() is None
    after = ticket(2)
    batcher.submit(after)
    assert after.wait() is None


def test_windows_of_several_streams_come_to_what_each_comes_to_alone(windowed):
    estimator = windowed.estimator
    config = estimator.config
    rng = np.random.default_rng(0)
    windows = rng.uniform(0, 5, (6, 32, config.bins)).astype(np.float32)
    conditions = windowed.encoder.embed(["drums", "speech"])
    urgent, patient = Batcher(estimator, 512, "urgent"), Batcher(estimator, 512, "patient")
    streams = [BatchedEstimator(config, urgent, patient) for _ in windows]
    found = [None] * len(windows)

    def ask(number):
        found[number] = streams[number].masks(windows[number], conditions)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(windows))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert patient.windows == 6 and urgent.windows == 0
    for window, masks, stream in zip(windows, found, streams, strict=True):
        np.testing.assert_allclose(masks, estimator.masks(window, conditions), atol=1e-6)
        assert stream.waits.count == 1 and stream.late == 0
    urgent.close()
    patient.close()

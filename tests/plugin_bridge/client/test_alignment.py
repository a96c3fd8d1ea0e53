"""Answers at their time: any blocks, losses and reconnections, against a frame by frame model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin_bridge.client import alignment as alignment_module
from plugin_bridge.client.alignment import Alignment

FADE = 20


@pytest.fixture(autouse=True)
def short_fades(monkeypatch):
    """So that many of them fit into an example."""
    monkeypatch.setattr(alignment_module, "FADE", FADE)


SIZE = st.integers(1, 30)
EVENT = st.one_of(
    st.tuples(st.just("block"), SIZE),
    st.tuples(st.just("answer"), SIZE),
    st.tuples(st.just("lose"), st.just(0)),
    st.tuples(st.just("open"), st.just(0)),
)


def mixture(first, count):
    """Two channels of sound that is nowhere silent and different everywhere."""
    index = np.arange(first, first + count, dtype=np.float32)
    return np.stack([1 + index, -2 - index]) * (index >= 0)


def answer(first, count):
    """Target and residual of those frames, different from the mixture."""
    sound = mixture(first, count)
    target = sound * 0.25
    return np.stack([target, sound - target])


class Server:
    """A stream of a server: answers what it got, late by its latency."""

    def __init__(self, base, latency):
        self.base, self.latency = base, latency
        self.got = self.answered = 0

    def answer(self, count):
        count = min(count, self.got - self.answered)
        first = self.base + self.answered - self.latency
        rows = answer(first, count)
        rows[..., : max(0, self.base - first)] = 0
        self.answered += count
        return rows, first


class Model:
    """Which frames have their answer in time, one by one."""

    def __init__(self, delay):
        self.delay, self.taken = delay, 0
        self.have = set()
        self.since = FADE
        self.dry = self.late = 0
        self.wet, self.stepping = False, 0
        self.last = self.step = np.zeros((2, 2), np.float32)

    def place(self, first, count, base):
        self.late += len(range(max(first, base), min(first + count, self.taken - self.delay)))
        self.have |= set(range(max(first, base, self.taken - self.delay), first + count))

    def take(self, count):
        out = np.zeros((2, 2, count), np.float32)
        for frame in range(count):
            at = self.taken - self.delay
            self.taken += 1
            known = at < 0 or at in self.have
            self.since = min(self.since + 1, FADE) if known else 0
            self.dry += not known
            weight = self.since / FADE
            dry = np.stack([mixture(at, 1), 0 * mixture(at, 1)])[..., 0]
            value = weight * answer(at, 1)[..., 0] + (1 - weight) * dry
            if self.wet and not known:
                self.step, self.stepping = self.last - value, FADE
                self.step[0] = -self.step[1]
            value = value + self.step * (self.stepping / FADE)
            self.stepping = max(0, self.stepping - 1)
            self.wet, self.last = known and at >= 0, value
            out[..., frame] = value
        return out


@settings(max_examples=300, deadline=None)
@given(
    latency=st.integers(0, 60),
    slack=st.integers(0, 60),
    events=st.lists(EVENT, max_size=80),
)
def test_every_frame_at_its_time(latency, slack, events):
    alignment = Alignment(latency, slack, 2, 2)
    model = Model(latency + slack)
    server, pushed = Server(0, latency), 0
    for event, size in events:
        if event == "block":
            alignment.push(mixture(pushed, size))
            pushed += size
            if server:
                server.got += size
            ready = alignment.ready(size)
            dry = alignment.dry_frames
            out, expected = alignment.take(size), model.take(size)
            assert out.shape == (2, 2, size) and out.dtype == np.float32
            assert np.allclose(out, expected, rtol=1e-5)
            at = pushed - size - latency - slack
            # The rows sum to the delayed mixture: never a shift, never silence.
            assert np.allclose(out.sum(0), mixture(at, size), rtol=1e-5)
            assert ready == (alignment.dry_frames == dry)
        elif event == "answer" and server:
            rows, first = server.answer(size)
            alignment.place(rows)
            model.place(first, rows.shape[-1], server.base)
        elif event == "lose":
            server = None
        elif event == "open":
            alignment.reopen()
            server = Server(pushed, latency)
    assert alignment.dry_frames == model.dry
    assert alignment.late_frames == model.late
    assert alignment.pushed == pushed


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(SIZE, min_size=1, max_size=30),
    answers=st.lists(SIZE, min_size=1, max_size=30),
    latency=st.integers(0, 100),
    slack=st.integers(0, 40),
)
def test_answers_in_time_are_played_to_the_bit(sizes, answers, latency, slack):
    alignment = Alignment(latency, slack, 2, 2)
    server, pushed, parts = Server(0, latency), 0, []
    for turn, size in enumerate(sizes * 8):
        alignment.push(mixture(pushed, size))
        pushed += size
        server.got += size
        while server.answered < pushed - slack:
            alignment.place(server.answer(answers[turn % len(answers)])[0])
        parts.append(alignment.take(size))
    # The end of a recording: what the server still owes.
    server.got += latency
    alignment.place(server.answer(latency + slack)[0])
    parts.append(alignment.take(latency + slack))
    delay = latency + slack
    assert np.array_equal(np.concatenate(parts, -1), answer(-delay, pushed + delay))
    assert alignment.dry_frames == 0


def test_the_return_is_a_fade():
    alignment = Alignment(0, 100, 1, 1)
    ones = np.ones((1, 100), np.float32)
    alignment.push(ones)
    alignment.take(100)
    alignment.push(ones)
    assert np.array_equal(alignment.take(100)[0], ones)
    alignment.reopen()
    alignment.push(ones)
    alignment.place(np.zeros((1, 1, 100), np.float32))
    dry = alignment.take(100)[0]
    alignment.push(ones)
    back = alignment.take(100)[0, 0]
    assert np.array_equal(dry, ones)
    assert np.allclose(back[:FADE], 1 - np.arange(1, FADE + 1) / FADE)
    assert not back[FADE:].any()


def test_a_restart_forgets():
    alignment = Alignment(7, 3, 1, 1)
    for _ in range(2):
        alignment.push(np.ones((1, 50), np.float32))
        out = alignment.take(50)
        assert not out[..., :10].any() and (out[..., 10:] == 1).all()
        assert alignment.pushed == 50
        alignment.restart()
    assert alignment.pushed == 0
    assert not alignment.take(10).any()


def test_no_more_is_taken_than_there_is():
    alignment = Alignment(7, 3, 1, 1)
    with pytest.raises(ValueError, match="11"):
        alignment.take(11)


def test_the_step_at_a_loss_decays():
    alignment = Alignment(0, 0, 2, 1)
    ones = np.ones((1, 100), np.float32)
    alignment.push(ones)
    alignment.place(np.stack([0.25 * ones, 0.75 * ones]))
    alignment.take(100)
    alignment.push(ones)
    target, residual = alignment.take(100)[:, 0]
    decay = np.maximum(1 - np.arange(100) / FADE, 0)
    assert np.allclose(target, 1 - 0.75 * decay)
    assert np.allclose(residual, 0.75 * decay)


def test_what_is_sent_again_is_played_once():
    """A stream that takes the place of another one begins before what was not answered."""
    alignment = Alignment(10, 5, 1, 1)
    sound = np.arange(1, 301, dtype=np.float32)[None]
    alignment.push(sound[:, :100])
    alignment.place(np.pad(sound[None, :, :90], ((0, 0), (0, 0), (10, 0))))
    out = [alignment.take(100)]
    assert alignment.end == 90
    alignment.push(sound[:, 100:200])
    alignment.reopen(60)
    # 40 to 59 are silence before the new stream, 60 to 89 are known.
    alignment.place(np.pad(sound[None, :, 60:190] * 1, ((0, 0), (0, 0), (10, 0))))
    out.append(alignment.take(100))
    assert alignment.dry_frames == alignment.late_frames == 0
    played = np.concatenate(out, -1)[0, 0]
    assert np.array_equal(played, np.pad(sound[0], (15, 0))[:200])


def test_one_row_does_not_jump():
    alignment = Alignment(0, 0, 1, 1)
    ones = np.ones((1, 100), np.float32)
    alignment.push(ones)
    alignment.place(0.25 * ones[None])
    alignment.take(100)
    alignment.push(ones)
    decay = np.maximum(1 - np.arange(100) / FADE, 0)
    assert np.allclose(alignment.take(100)[0, 0], 1 - 0.75 * decay)
    # Into silence as well.
    alignment.restart()
    alignment.push(ones)
    alignment.place(0.25 * ones[None])
    alignment.take(100)
    alignment.push(ones)
    assert np.allclose(alignment.take(100, silent=True)[0, 0], 0.25 * decay)

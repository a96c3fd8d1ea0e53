import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.signal.selection import Selection
from audiosep_core.signal.stepped_stream import stepped_stream

RATE = 48_000
#: Rates with frames of their own, and some without.
RATES = [22_050, 24_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000]
FOREIGN = [32_000, 8_000, 47_999]


@pytest.fixture(scope="module")
def conditions():
    return np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


def sound(seconds=1.0, rate=RATE, channels=2):
    rng = np.random.default_rng(1)
    return (0.1 * rng.standard_normal((channels, int(seconds * rate) + 7))).astype(np.float32)


def separated(net, rows, mixture, rate=RATE, cuts=(), change=None, summed=False, call=0):
    """(rows + 1, channels, frames); ``change`` is (cut, conditions)."""
    stream = stepped_stream(net, Selection.plain(rows), rate, len(mixture), summed, call)
    edges = [0, *sorted(cuts), mixture.shape[1]]
    parts = []
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        if change is not None and number == change[0]:
            stream.select(Selection.plain(change[1]), start)
        parts.append(stream.push(mixture[:, start:end]))
    return np.concatenate([*parts, stream.finish()], -1)


@pytest.mark.parametrize("rate", RATES + FOREIGN)
def test_stems_and_residual_are_the_mixture(step_network, conditions, rate):
    mixture = sound(0.7, rate)
    rows = separated(step_network, conditions[:2], mixture, rate)
    assert rows.shape == (3, *mixture.shape)
    np.testing.assert_allclose(rows.sum(0), mixture, atol=1e-6)
    # Something was separated, in both channels.
    assert np.abs(rows).max((1, 2)).min() > 1e-3


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 20_000), max_size=6), st.sampled_from([22_050, 44_100, 48_000]))
def test_same_bits_however_it_is_cut(step_network, conditions, cuts, rate):
    mixture = sound(20_000 / rate, rate)
    whole = separated(step_network, conditions[:1], mixture, rate)
    np.testing.assert_array_equal(
        separated(step_network, conditions[:1], mixture, rate, cuts), whole
    )


def test_many_frames_a_call_change_next_to_nothing(step_network, conditions):
    mixture = sound()
    whole = separated(step_network, conditions[:2], mixture)
    np.testing.assert_allclose(
        separated(step_network, conditions[:2], mixture, call=64), whole, atol=1e-5
    )


@settings(max_examples=12, deadline=None)
@given(
    gain_db=st.floats(-40, 40),
    rate=st.sampled_from([44_100, 48_000, 32_000]),
    channels=st.integers(1, 2),
    silent=st.integers(0, 3),
)
def test_gain_and_silent_channels_do_not_count(
    step_network, conditions, gain_db, rate, channels, silent
):
    mixture = sound(0.5, rate, channels)
    # Quiet at first, then loud, so that the level moves.
    mixture *= np.geomspace(1e-2, 1, mixture.shape[1], dtype=np.float32)
    plain = separated(step_network, conditions[:1], mixture, rate)
    gain = np.float32(10 ** (gain_db / 20))
    other = np.concatenate([mixture * gain, np.zeros((silent, mixture.shape[1]), np.float32)])
    louder = separated(step_network, conditions[:1], other, rate)
    # 0.3 dB would be 3.5e-2 of the stem; float32 and a network of random weights, which
    # makes much of little, leave 1.5e-4 of it.
    error = np.abs(louder[:, :channels] / gain - plain)
    assert error.max() <= 1e-3 * np.abs(plain[0]).max()
    assert not louder[:, channels:].any()


def test_a_silent_channel_leaves_the_stem_as_it_is(step_network, conditions):
    mixture = sound(channels=1)
    plain = separated(step_network, conditions[:1], mixture)
    padded = np.concatenate([mixture, np.zeros_like(mixture)])
    stereo = separated(step_network, conditions[:1], padded)
    np.testing.assert_allclose(stereo[:, :1], plain, atol=2e-6)
    assert not stereo[:, 1].any()


def test_a_query_that_stays_is_not_disturbed(step_network, conditions):
    mixture = sound()
    kept = separated(step_network, conditions[:2], mixture)
    changed = separated(
        step_network, conditions[:2], mixture, cuts=[20_000], change=(1, conditions[[0, 2]])
    )
    np.testing.assert_allclose(changed[0], kept[0], atol=1e-6)
    assert np.abs(changed[1] - kept[1])[:, 24_000:].max() > 1e-3


def test_a_new_query_is_what_it_were_had_it_begun_there(step_network, conditions):
    mixture = sound()
    hop = step_network.config.hop_length(RATE)
    start = 40 * hop
    changed = separated(
        step_network, conditions[:1], mixture, cuts=[start], change=(1, conditions[1:2])
    )
    old = separated(step_network, conditions[:1], mixture)
    # Frames reach back by the window; before that, nothing is heard of the change.
    before = start - 3 * hop
    np.testing.assert_array_equal(changed[0, :, :before], old[0, :, :before])
    assert np.abs(changed[0] - old[0])[:, start:].max() > 1e-3


def test_before_the_first_frame_nothing_fades(step_network, conditions):
    mixture = sound(0.4)
    changed = separated(
        step_network, conditions[:1], mixture, cuts=[0], change=(1, conditions[1:2])
    )
    np.testing.assert_array_equal(changed, separated(step_network, conditions[1:2], mixture))


class Late:
    """The network, too late for some of its calls."""

    def __init__(self, net, late):
        self._net, self._late, self._calls = net, late, 0
        self.config, self.start = net.config, net.start

    def step(self, magnitude, state):
        self._calls += 1
        result = self._net.step(magnitude, state)
        return None if self._calls in self._late else result


def test_what_is_late_is_made_up_for(step_network, conditions):
    mixture = sound()
    hop = step_network.config.hop_length(RATE)
    plain = separated(step_network, conditions[:1], mixture)
    late = separated(Late(step_network, {20, 21, 22}), conditions[:1], mixture)
    np.testing.assert_allclose(late.sum(0), mixture, atol=1e-6)
    # Calls 20 to 22 give the masks of frames 38 to 43, less the look-ahead.
    first, last = (38 - 16 - 3) * hop, (44 - 16 + 3) * hop
    np.testing.assert_array_equal(late[0, :, :first], plain[0, :, :first])
    assert np.abs(late[0] - plain[0])[:, first:last].max() > 1e-4
    np.testing.assert_allclose(late[0, :, last:], plain[0, :, last:], atol=1e-5)


def asking(rows, negative=(), strength=1.0, plain_masks=False):
    return Selection(
        rows,
        np.ones(len(rows), np.float32),
        np.array(negative, np.float32).reshape(-1, rows.shape[1]),
        strength,
        plain_masks=plain_masks,
    )


@pytest.mark.parametrize("stems", [1, 2])
@pytest.mark.parametrize("options", [{}, {"strength": 3.0}, {"plain_masks": True}])
def test_until_something_is_separated_the_mixture_is_heard(
    step_network, conditions, stems, options
):
    mixture = sound(0.5)
    selection = asking(conditions[:stems], conditions[3:], **options)
    never = Late(step_network, range(1000))
    stream = stepped_stream(never, selection, RATE, len(mixture))
    rows = np.concatenate([stream.push(mixture), stream.finish()], -1)
    np.testing.assert_allclose(rows[:-1].sum(0), mixture, atol=1e-5)
    np.testing.assert_allclose(rows[0], mixture / stems, atol=1e-5)


def test_a_late_negative_query_takes_nothing_out(step_network, conditions):
    mixture = sound()

    def heard(negative):
        late = Late(step_network, range(15, 1000))
        stream = stepped_stream(late, asking(conditions[:1]), RATE, len(mixture))
        parts = [stream.push(mixture[:, : RATE // 2])]
        stream.select(asking(conditions[:1], negative), RATE // 2)
        return np.concatenate([*parts, stream.push(mixture[:, RATE // 2 :])], -1)

    np.testing.assert_array_equal(heard(conditions[3:]), heard(()))


class Greedy:
    """A network whose every query claims nine tenths of everything."""

    def __init__(self, net):
        self._net, self.config, self.start = net, net.config, net.start

    def step(self, magnitude, state):
        masks, state = self._net.step(magnitude, state)
        masks = np.zeros_like(masks)
        masks[:, 0], masks[:, 1] = 0.9, 1
        return masks, state


def test_overlapping_queries_share_the_mixture_while_they_change(step_network, conditions):
    mixture = sound()
    stream = stepped_stream(Greedy(step_network), asking(conditions[:2]), RATE, len(mixture))
    parts = [stream.push(mixture[:, :20_000])]
    stream.select(asking(conditions[[0, 2]]), 20_000)
    parts.append(stream.push(mixture[:, 20_000:30_000]))
    stream.select(asking(conditions[2:]), 30_000)
    parts.append(stream.push(mixture[:, 30_000:]))
    rows = np.concatenate([*parts, stream.finish()], -1)
    assert np.abs(rows[-1]).max() < 1e-5
    np.testing.assert_allclose(rows[:-1].sum(0), mixture, atol=1e-5)


def test_another_number_of_stems_is_another_stream(step_network, conditions):
    stream = stepped_stream(step_network, Selection.plain(conditions[:2]), RATE, 1)
    with pytest.raises(ValueError, match="2 stems, 3 were asked for"):
        stream.select(Selection.plain(conditions[:3]), 0)

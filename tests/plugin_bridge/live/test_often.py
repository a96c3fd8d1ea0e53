"""Changes that follow one another more quickly than a fade lasts, or than frames do."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core import Separator
from audiosep_core.signal.levels import FADE_SECONDS
from plugin_bridge import Delta, Query, StreamingSeparator, WindowSeconds

SHORT = WindowSeconds(hop=0.13, context=0.2, look_ahead=0.1)
WORDS = ("drums", "wind", "a dog barking", "speech")
RATE = 48_000

queries = st.lists(
    st.builds(
        Query,
        st.sampled_from(WORDS),
        gain_db=st.sampled_from([-20.0, 0.0, 3.0]),
        mute=st.booleans(),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda query: query.text,
)
deltas = st.one_of(
    st.builds(Delta, queries),
    st.builds(Delta, queries.map(lambda asked: [*asked, Query("rain", negative=True)])),
    st.builds(Delta, strength=st.sampled_from([0.5, 1.0, 2.0])),
    st.builds(Delta, remainder_db=st.sampled_from([-np.inf, -12.0, 0.0])),
)
#: Samples from one change to the next: a fade takes 480, a frame of `mini` 640.
gaps = st.integers(0, 1000)


@pytest.mark.parametrize("mode", ["track", SHORT])
@given(changes=st.lists(st.tuples(gaps, deltas), min_size=2, max_size=12), size=st.integers(1, 900))
@settings(max_examples=25)
def test_whatever_follows_whatever(separator, windowed, music, mode, changes, size):
    """Nothing is lost, nothing clicks, and it ends with what was asked last."""
    model = windowed if mode is SHORT else separator
    audio = music(1, RATE)
    stream = StreamingSeparator("drums", RATE, 1, mode, model, outputs="target+residual")
    position, due = 8000, {}
    for gap, delta in changes:
        position += gap
        due.setdefault(position // size, []).append((position, delta))
    parts = []
    for number, start in enumerate(range(0, RATE, size)):
        for place, delta in due.get(number, ()):
            stream.change(delta, place)
        parts.append(stream.process(audio[:, start : start + size]))
    out = np.concatenate([*parts, stream.flush()], -1)[..., stream.latency_samples :]
    assert np.abs(out.sum(0) - audio).max() <= 1e-6
    settled = StreamingSeparator(stream.settings, RATE, 1, mode, model, outputs="target+residual")
    expected = np.concatenate([settled.process(audio), settled.flush()], -1)
    expected = expected[..., settled.latency_samples :]
    if mode is SHORT:
        # The long past of a query that is new is another one in `mini`.
        assert np.abs(out - expected)[..., position + RATE // 2 :].max(initial=0) <= 1e-4


@pytest.mark.parametrize("mode", ["track", "live"])
def test_a_level_moves_at_its_own_frame_while_queries_change(separator, music, mode):
    """A gain that is drawn into the fade of another query is heard from its frame on."""
    audio, place = music(1, RATE), 20_000

    def heard(*changes):
        stream = StreamingSeparator("drums", RATE, 1, mode, outputs="stems")
        for delta, position in changes:
            stream.change(delta, position)
        out = np.concatenate([stream.process(audio), stream.flush()], -1)
        return out[0, 0, stream.latency_samples :]

    changed = heard((Delta("wind"), place))
    quieter = heard((Delta("wind"), place), (Delta([Query("wind", gain_db=-20)]), place + 100))
    np.testing.assert_array_equal(quieter[: place + 100], changed[: place + 100])
    assert (quieter != changed)[place + 100 : place + 110].any()
    through = place + 100 + RATE // 100
    np.testing.assert_allclose(quieter[through:], 0.1 * changed[through:], atol=1e-6)


class Counted:
    """A network that counts the queries of every call."""

    def __init__(self, estimator):
        self._estimator, self.config, self.rows = estimator, estimator.config, []
        self.start, self.prepare = estimator.start, estimator.prepare

    def step(self, magnitude, state):
        self.rows.append(len(state.conditions))
        return self._estimator.step(magnitude, state)


@pytest.mark.parametrize("name", ["mini", "live"])
def test_no_frame_has_more_than_one_new_query(name, music):
    """However often something else is asked for, here 2,000 times a second."""
    model = Separator(name, device="cpu", threads=1)
    counted, rng = Counted(model.estimator), np.random.default_rng(0)
    stream = StreamingSeparator("drums", RATE, 1, "track", model, estimator=counted)
    audio = music(1, 4800)
    for start in range(0, 4800, 16):
        embedding = rng.standard_normal(stream.embeddings.shape, np.float32)
        stream.schedule(Delta(f"word {start}"), embedding)
        stream.process(audio[:, start : start + 16])
    config = counted.config
    faded = math.ceil(FADE_SECONDS * config.frame_rate)
    alive = config.step_frames + config.look_ahead + faded + config.synthesis
    assert 2 < max(counted.rows) <= alive + 1

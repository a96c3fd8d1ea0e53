"""When a change is heard: at its frame of the mixture, wherever the stream and its blocks begin."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.settings import Delta, Settings
from plugin_bridge import Query, StreamingSeparator
from plugin_bridge.live.schedule import MOST_SCHEDULED

RATES = [44_100, 48_000, 96_000]
FADE_SECONDS = 0.01


def sound(rate, seconds, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((1, int(rate * seconds)))).astype(np.float32)


@pytest.fixture(scope="module", params=["windows", "steps"])
def model(request, windowed, streaming_separator):
    return windowed if request.param == "windows" else streaming_separator


@pytest.fixture(scope="module")
def streaming_separator(step_network):
    from types import SimpleNamespace

    from audiosep_core import Separator

    def embed(texts):
        known = {"drums": 1, "wind": 2, "a dog barking": 3}
        rows = [np.random.default_rng(known[text]).normal(size=6) for text in texts]
        return np.array(rows, np.float32)

    made = Separator.__new__(Separator)
    made.bundle = SimpleNamespace(config=step_network.config, context_seconds=0.0)
    made.encoder = SimpleNamespace(embed=embed)
    made.estimator = step_network
    return made


def engine(model, rate, queries="drums", **options):
    return StreamingSeparator(queries, rate, 1, "track", model, **options)


def played(stream, audio, sizes=(512,), changes=()):
    """On the mixture's time line: changes are (frame at which it is said, delta, position)."""
    out, at, sizes = [], 0, itertools.cycle(sizes)
    waiting = sorted(changes, key=lambda change: change[0])
    while at < audio.shape[1]:
        while waiting and waiting[0][0] <= at:
            _, delta, position = waiting.pop(0)
            stream.change(delta, position)
        size = next(sizes)
        if waiting:
            size = min(size, waiting[0][0] - at)
        block = np.ascontiguousarray(audio[:, at : at + size])
        out.append(stream.process(block))
        at += block.shape[1]
    return np.concatenate([*out, stream.flush()], -1)[..., stream.latency_samples :]


CHANGES = {
    "gain": Delta(Query("drums", gain_db=-12)),
    "mute": Delta(Query("drums", mute=True)),
    "remainder": Delta(remainder_db=-6),
    "query": Delta("wind"),
    "more queries": Delta(["wind", "drums"]),
}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("change", CHANGES)
def test_it_begins_at_its_frame_and_is_through_within_10_ms(model, rate, change):
    audio = sound(rate, 0.9)
    delta = CHANGES[change]
    # Stems that share the mixture change each other's masks, which is the next test's matter.
    asked = Settings("drums", plain_masks=True)
    before = played(engine(model, rate, asked), audio)
    after = played(engine(model, rate, asked.changed(delta)), audio)
    fade = round(FADE_SECONDS * rate)
    for position in (20_000, 24_999):
        stream = engine(model, rate, asked)
        out = played(stream, audio, changes=[(position, delta, None)])
        assert np.abs(out - before)[:, :position].max() < 1e-6
        assert np.abs(out - before)[:, position : position + 100].max() > 1e-5
        settled = slice(position + fade, None)
        if change not in ("query", "more queries") or model.bundle.context_seconds:
            assert np.abs(out - after)[:, settled].max() < 1e-5
        assert np.abs(out - before)[:, settled].max() > 1e-4


@pytest.mark.parametrize("rate", RATES)
def test_strength_changes_with_the_nearest_frame_of_the_stft(model, rate):
    audio = sound(rate, 0.8)
    config = model.bundle.config
    steps = hasattr(config, "frame_rate")
    frame = rate // config.frame_rate if steps else config.hop_length * rate / config.sample_rate
    reach = (config.synthesis if steps else config.n_fft / config.hop_length) / 2 * frame
    before = played(engine(model, rate), audio)
    after = played(engine(model, rate, strength=4.0), audio)
    for position in range(20_000, 22_000, 777):
        out = played(engine(model, rate), audio, changes=[(position, Delta(strength=4.0), None)])
        first = int(np.argmax(np.abs(out - before)[0] > 1e-6))
        last = out.shape[1] - int(np.argmax(np.abs(out - after)[0, ::-1] > 1e-6))
        # The overlap of the frames is the fade; its middle lies within half a frame of the change.
        assert abs((first + last) / 2 - position) <= frame / 2 + 3
        assert position - reach - frame <= first and last <= position + reach + frame


@settings(max_examples=6, deadline=None)
@given(
    position=st.integers(0, 40_000),
    ahead=st.integers(0, 40_000),
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=5),
    change=st.sampled_from(sorted(CHANGES)),
)
def test_neither_blocks_nor_the_time_of_asking_matter(model, position, ahead, sizes, change):
    audio = sound(48_000, 1)
    said = max(0, position - ahead)
    delta = CHANGES[change]
    expected = played(engine(model, 48_000), audio, changes=[(position, delta, position)])
    out = played(engine(model, 48_000), audio, sizes, [(said, delta, position)])
    np.testing.assert_array_equal(out, expected)


def test_one_that_comes_late_is_heard_in_time_as_long_as_it_can_be(windowed):
    audio = sound(48_000, 3)
    late = 6000
    for name in ("gain", "query"):
        delta, position = CHANGES[name], 40_000
        expected = StreamingSeparator("drums", 48_000, 1, "mix", windowed)
        expected = played(expected, audio, changes=[(position, delta, position)])
        stream = StreamingSeparator("drums", 48_000, 1, "mix", windowed)
        out = played(stream, audio, changes=[(position + late, delta, position)])
        np.testing.assert_allclose(out, expected, atol=1e-6)
        # Behind what has been heard it comes as soon as it can.
        stream = StreamingSeparator("drums", 48_000, 1, "mix", windowed)
        stream.process(audio)
        scheduled = stream.change(delta, position)
        heard = audio.shape[1] - stream.latency_samples
        assert heard <= scheduled.began <= audio.shape[1]


def test_changes_are_sorted_and_one_far_ahead_holds_up_none(model):
    audio = sound(48_000, 1)
    first, second, far = Delta(Query("drums", gain_db=-6)), Delta(strength=2.0), Delta("wind")
    expected = played(
        engine(model, 48_000), audio, changes=[(9000, first, 9000), (20_000, second, 20_000)]
    )
    stream = engine(model, 48_000)
    out = played(stream, audio, changes=[(0, far, 10**9), (1, second, 20_000), (2, first, 9000)])
    np.testing.assert_array_equal(out, expected)


def test_changes_of_one_frame_are_one_change_in_any_order(model):
    audio, at = sound(48_000, 1), 20_000
    whole = Delta(["wind", "drums"], strength=1.7)
    steps = [Delta(["wind", "drums"]), Delta(strength=1.7)]
    expected = played(engine(model, 48_000), audio, changes=[(0, whole, at)])
    for order in (steps, steps[::-1]):
        out = played(engine(model, 48_000), audio, changes=[(0, delta, at) for delta in order])
        np.testing.assert_array_equal(out, expected)


def test_a_change_can_be_taken_back(model):
    audio = sound(48_000, 1)
    expected = played(engine(model, 48_000), audio)
    stream = engine(model, 48_000)
    scheduled = stream.change(Delta("wind"), 20_000)
    stream.process(audio[:, :100])
    assert stream.cancel(scheduled) and not stream.cancel(scheduled)
    rest = [stream.process(np.ascontiguousarray(audio[:, 100:])), stream.flush()]
    out = np.concatenate(rest, -1)[:, stream.latency_samples - 100 :]
    np.testing.assert_array_equal(out, expected)


def test_only_so_many_wait(separator):
    stream = engine(separator, 48_000)
    for _ in range(MOST_SCHEDULED):
        stream.change(Delta(strength=2.0), 10**6)
    with pytest.raises(ValueError, match="wait for their position"):
        stream.change(Delta(strength=3.0), 10**6)


def test_a_change_before_the_first_frame_does_not_fade(model):
    audio = sound(48_000, 0.7)
    expected = played(engine(model, 48_000, "wind", origin=5000), audio)
    stream = engine(model, 48_000, origin=5000)
    np.testing.assert_array_equal(
        played(stream, audio, changes=[(0, Delta("wind"), 5000)]), expected
    )


def test_levels_cost_no_row_of_the_network(windowed, monkeypatch):
    rows = []
    masks = windowed.estimator.masks
    monkeypatch.setattr(
        windowed.estimator, "masks", lambda m, c: rows.append(len(c)) or masks(m, c)
    )
    audio = sound(48_000, 1.5)
    deltas = [Delta(Query("drums", gain_db=-3 * n)) for n in range(20)]
    deltas += [Delta(strength=1 + n / 9) for n in range(20)]
    played(
        engine(windowed, 48_000),
        audio,
        changes=[(3000 + 1000 * n, delta, None) for n, delta in enumerate(deltas)],
    )
    assert set(rows) == {1}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("origin, later", [(0, 70_001), (1, 12_345), (2**40 + 3, 48_000)])
def test_the_same_passage_gives_the_same_sound_from_wherever_it_is_begun(
    windowed, rate, origin, later
):
    """Two streams of one recording that begin at different frames null behind the pre-roll."""
    audio = sound(rate, 2 + later / rate)
    early = played(engine(windowed, rate, origin=origin), audio)
    late = played(engine(windowed, rate, origin=origin + later), audio[:, later:])
    # The network's window of "track" reaches 1 s back; where a recording ends, the last frames
    # are divided by next to nothing.
    null = np.abs(early[:, later:] - late)[:, int(1.2 * rate) : -rate // 20]
    assert null.size and null.max() < 1e-6
    assert np.abs(early).max() > 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_a_loop_repeats_itself_to_the_bit(model, rate):
    audio = sound(rate, 0.8)
    stream = engine(model, rate)
    turns = []
    for _ in range(3):
        stream.reset(54_321)
        turns.append(stream.process(audio))
    np.testing.assert_array_equal(turns[0], turns[1])
    np.testing.assert_array_equal(turns[0], turns[2])


@pytest.mark.parametrize("rate", RATES)
def test_a_network_that_remembers_repeats_itself_where_the_grid_does(streaming_separator, rate):
    """Its memory begins with the stream: origins a whole number of steps apart are alike, others
    hear other frames, and no passage is the same behind another past."""
    audio = sound(rate, 0.8)
    config = streaming_separator.bundle.config
    step = config.step_frames * config.hop_length(rate)
    first = played(engine(streaming_separator, rate, origin=777), audio)
    same = played(engine(streaming_separator, rate, origin=777 + 9 * step), audio)
    np.testing.assert_array_equal(first, same)
    shifted = played(engine(streaming_separator, rate, origin=778), audio)
    assert np.abs(shifted - first).max() > 1e-5


@pytest.mark.parametrize("rate", RATES)
def test_a_host_that_feeds_silence_gets_the_end_that_flush_gives(streaming_separator, rate):
    """Of a network that remembers; one of windows sees shorter ones at the end of a recording."""
    audio = sound(rate, 1.3)
    ends = []
    for silence in (False, True):
        stream = engine(streaming_separator, rate)
        stream.process(audio)
        late = stream.latency_samples
        rest = stream.process(np.zeros((1, late), np.float32)) if silence else stream.flush()
        ends.append(rest)
    np.testing.assert_allclose(ends[1], ends[0], atol=1e-6)

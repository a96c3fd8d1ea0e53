"""What is asked of a stream: queries and their levels, and changes of them on the fly."""

import itertools

import numpy as np
import pytest

from plugin_bridge import Delta, Query, Settings, StreamingSeparator, Windows, WindowSeconds

SHORT = WindowSeconds(hop=0.13, context=0.2, look_ahead=0.1)
ASKED = Settings(
    [Query("drums", gain_db=-3), Query("a dog barking", gain_db=2), Query("wind", negative=True)],
    strength=1.5,
    remainder_db=-12,
)


def test_a_file_can_be_asked_what_a_stream_can(separator, feed, music):
    audio = music(2, 48_000 * 3)
    stems = separator.separate(audio, 48_000, ASKED)
    assert list(stems) == ["drums", "a dog barking", "residual"]
    for outputs in ("stems", "target+residual"):
        stream = StreamingSeparator(ASKED, 48_000, 2, "render", separator, outputs=outputs)
        live = feed(stream, audio, (4800,), flush=True)[..., stream.latency_samples :]
        whole = np.stack(list(stems.values()))
        if outputs != "stems":
            whole = np.stack([whole[:-1].sum(0), whole[-1]])
        assert np.abs(live - whole).max() <= 1e-4
    plain = separator.separate(audio, 48_000, ["drums", "a dog barking"])
    assert np.abs(plain["drums"] - stems["drums"]).max() > 1e-2


def test_a_selection_is_not_forgotten_by_the_next_change(separator, music):
    audio = music(1, 40_000)
    stream = StreamingSeparator("drums", 32000, 1, "track", separator)
    stream.schedule(Delta("wind"), separator.encoder.embed(["wind"]))
    stream.strength = 2
    stream.remainder_db = -20
    assert stream.settings == Settings("wind", 2, -20)
    expected = StreamingSeparator(stream.settings, 32000, 1, "track", separator)
    np.testing.assert_array_equal(stream.process(audio), expected.process(audio))


def test_a_change_before_the_first_sample_does_not_fade(separator, music):
    audio = music(1, 40_000)
    stream = StreamingSeparator("drums", 32000, 1, "track", separator)
    stream.process(audio)
    stream.reset()
    stream.set_queries("wind")
    expected = StreamingSeparator("wind", 32000, 1, "track", separator)
    np.testing.assert_array_equal(stream.process(audio), expected.process(audio))


@pytest.mark.parametrize("mode", ["render", "mix", "track", SHORT])
@pytest.mark.parametrize("sample_rate", [32000, 48000, 96000])
def test_null_while_everything_changes(separator, windowed, music, mode, sample_rate):
    separator = windowed if mode is SHORT else separator
    audio = music(2, sample_rate * 3)
    stream = StreamingSeparator("drums", sample_rate, 2, mode, separator, outputs="target+residual")
    changes = {
        30: lambda: stream.set_queries([Query("a dog barking", gain_db=6), "wind"]),
        45: lambda: setattr(stream, "strength", 2.5),
        60: lambda: setattr(stream, "remainder_db", -6),
        80: lambda: stream.set_queries([Query("drums", mute=True), Query("wind", negative=True)]),
    }
    parts = []
    size = audio.shape[1] // 100
    for number in range(100):
        changes.get(number, lambda: None)()
        block = np.ascontiguousarray(audio[:, number * size : (number + 1) * size])
        parts.append(stream.process(block))
    out = np.concatenate([*parts, stream.flush()], -1)[..., stream.latency_samples :]
    assert np.abs(out.sum(0) - audio[:, : 100 * size]).max() <= 1e-6
    assert np.abs(out[0]).max() > 1e-3


def _stems(separator, audio, queries, **settings):
    stream = StreamingSeparator(queries, 32000, len(audio), "track", separator, **settings)
    out = np.concatenate([stream.process(audio), stream.flush()], -1)
    return out[..., stream.latency_samples :]


def test_levels(separator, music):
    audio = music(2, 40_000)
    drums, wind, residual = _stems(separator, audio, ["drums", "wind"], outputs="stems")
    both = _stems(separator, audio, [Query("drums", gain_db=-6), Query("wind", gain_db=2)])
    assert np.abs(both - (10 ** (-6 / 20) * drums + 10 ** (2 / 20) * wind)).max() < 1e-5
    muted = _stems(separator, audio, [Query("drums", mute=True), "wind"])
    assert np.abs(muted - wind).max() < 1e-5
    alone = _stems(separator, audio, [Query("drums", solo=True), "wind"])
    assert np.abs(alone - drums).max() < 1e-5
    silent = [Query("drums", gain_db=float("-inf")), Query("wind", gain_db=float("-inf"))]
    rest = _stems(separator, audio, silent, remainder_db=0)
    assert np.abs(rest - residual).max() < 1e-5
    everything = _stems(separator, audio, ["drums", "wind"], remainder_db=0)
    assert np.abs(everything - audio).max() < 1e-5


def test_strength_and_negative_queries_follow_the_masks(transparent, music):
    class Constant(type(transparent.estimator)):
        def masks(self, magnitude, conditions):
            masks = super().masks(magnitude, conditions)
            masks[:, 0] = np.linspace(0.5, 0.8, len(conditions))[:, None, None]
            return masks

    transparent.estimator = Constant(transparent.estimator.config)
    audio = music(1, 40_000)
    soft = _stems(transparent, audio, ["drums"])
    assert np.abs(soft - 0.5 * audio).max() < 1e-5
    assert np.abs(_stems(transparent, audio, ["drums"], strength=3) - 0.125 * audio).max() < 1e-5
    queries = ["voice", "whistle", Query("wind", negative=True)]
    without = _stems(transparent, audio, queries, outputs="stems")
    assert np.abs(without[0] - 0.5 * 0.2 * audio).max() < 1e-5
    assert np.abs(without[1] - 0.65 * 0.2 * audio).max() < 1e-5


@pytest.mark.parametrize(
    "mode, change",
    [
        ("track", "query"),
        ("track", "gain"),
        ("mix", "query"),
        ("mix", "mute"),
        ("mix", "strength"),
        ("mix", "remainder"),
    ],
)
def test_changes_do_not_click_and_come_in_time(windowed, feed, change, mode):
    separator = windowed
    rate = 48_000
    time = np.arange(rate * (3 if mode == "track" else 4)) / rate
    audio = sum(np.sin(2 * np.pi * f * time + f) for f in (60, 90, 130))[None] * 0.2
    audio = audio.astype(np.float32)

    def apply(stream):
        if change == "strength":
            stream.strength = 3.0
        elif change == "remainder":
            stream.remainder_db = 0
        else:
            changed = {
                "query": Query("a dog barking", gain_db=-40),
                "gain": Query("drums", gain_db=12),
                "mute": Query("drums", mute=True),
            }
            stream.set_queries(changed[change])

    def jump(signal):
        return np.abs(np.diff(signal)).max()

    def steady(apply_first):
        stream = StreamingSeparator("drums", rate, 1, mode, separator)
        if apply_first:
            apply(stream)
            stream.reset()
        return feed(stream, audio)[0]

    before, after = steady(False), steady(True)
    stream = StreamingSeparator("drums", rate, 1, mode, separator)
    half = (180 if mode == "track" else 240) * 512
    first = feed(stream, audio[:, :half])[0]
    apply(stream)
    second = feed(stream, audio[:, half:])[0]
    out = np.concatenate([first, second])
    # Settled sound only: the network hears the start of the stream as an event.
    settled = slice(half - rate // 2, None)
    assert jump(out[settled]) <= 1.05 * max(jump(before[settled]), jump(after[settled])) + 1e-6
    assert np.array_equal(first, before[:half])
    config = separator.estimator.config
    # Masks change with a frame of the STFT, levels within 10 ms.
    frame = config.n_fft * rate // config.sample_rate
    reached = half + stream.latency_samples + max(frame, rate // 100)
    assert np.abs(out[reached:] - after[reached:]).max() < 2e-4
    assert np.abs(out[reached:] - before[reached:]).max() > 1e-3


@pytest.mark.parametrize(
    "mode", ["mix", "track", SHORT, Windows(1, 40, 1), Windows(32, 0, 0), Windows(70, 10, 20)]
)
def test_the_network_is_ready_for_every_window_of_a_stream(transparent, feed, music, mode):
    queries = ["drums", Query("wind", negative=True)]
    stream = StreamingSeparator(queries, 32000, 1, mode, transparent)
    network = transparent.estimator
    audio = music(1, 96_000)
    feed(stream, audio)
    stream.strength = 2
    feed(stream, audio)
    assert {rows for rows, _ in network.asked} == {2}
    stream.set_queries(["bird", Query("dog", negative=True)])
    feed(stream, audio)
    assert {rows for rows, _ in network.asked} == {2, 4}
    assert network.asked <= network.prepared
    # Another number of queries is ready from the next start on.
    stream.set_queries("drums")
    feed(stream, audio)
    assert not network.asked <= network.prepared
    stream.reset()
    assert (1, max(frames for _, frames in network.asked)) in network.prepared


def test_a_query_given_twice_is_one_query(separator, music):
    audio = music(1, 40_000)
    once = _stems(separator, audio, ["drums"])
    twice = _stems(separator, audio, ["drums", "DRUMS!"])
    np.testing.assert_allclose(twice, once, atol=1e-6)
    stems = _stems(separator, audio, ["drums", "drums"], outputs="stems")
    np.testing.assert_allclose(stems[0], once / 2, atol=1e-6)


def test_overlapping_queries_share_the_mixture_while_they_change(transparent, music):
    class Greedy(type(transparent.estimator)):
        def masks(self, magnitude, conditions):
            masks = super().masks(magnitude, conditions)
            masks[:, 0] = 0.9
            return masks

    transparent.estimator = Greedy(transparent.estimator.config)
    audio = music(1, 200_000)

    def heard(plain):
        first = Settings(["ducks quacking", "a duck"], plain_masks=plain)
        stream = StreamingSeparator(first, 32000, 1, "track", transparent, outputs="stems")
        changes = [["a duck", "a goose"], ["a goose", "a duck"], ["geese", "ducks"]]
        parts = []
        for queries, block in itertools.zip_longest(changes, np.split(audio, 4, 1)):
            parts.append(stream.process(np.ascontiguousarray(block)))
            if queries:
                stream.set_queries(queries)
        return np.concatenate([*parts, stream.flush()], -1)[..., stream.latency_samples :]

    first, second, residual = heard(plain=False)
    assert np.abs(residual).max() < 1e-5
    assert np.abs(first - 0.5 * audio).max() < 1e-5
    np.testing.assert_allclose(first + second, audio, atol=1e-5)
    # As the network gives them they are more than the mixture, and the residual is turned over.
    assert np.abs(heard(plain=True)[2] + (2 * 0.9 - 1) * audio).max() < 1e-5


@pytest.mark.parametrize("gain", [float("nan"), 61, "loud"])
def test_impossible_gains(gain):
    with pytest.raises(ValueError, match="gain_db"):
        Query("drums", gain_db=gain)


def test_impossible_changes_change_nothing(separator, feed, music):
    audio = music(1, 40_000)
    expected = feed(
        StreamingSeparator(["drums", "wind"], 32000, 1, "track", separator, outputs="stems"), audio
    )
    stream = StreamingSeparator(["drums", "wind"], 32000, 1, "track", separator, outputs="stems")
    for queries, message in ((["drums"], "2 stems"), ([" "], "empty"), ([], "no query")):
        with pytest.raises(ValueError, match=message):
            stream.set_queries(queries)
    with pytest.raises(ValueError, match="strength"):
        stream.strength = -1
    assert stream.strength == 1
    assert np.array_equal(feed(stream, audio), expected)

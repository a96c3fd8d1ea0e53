"""The live engine: latency to the sample, null, partitions, changes on the fly, bad input."""

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.config import SeparatorConfig
from audiosep_core.errors import QueryError
from plugin_bridge import Query, StreamingSeparator, Windows, WindowSeconds
from plugin_bridge.latency import stream_latency

RATES = [44100, 48000, 88200, 96000, 192000]
SHORT = WindowSeconds(hop=0.13, context=0.2, look_ahead=0.1)


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("mode", ["render", "mix", "track", SHORT])
def test_an_impulse_arrives_when_the_latency_says(transparent, feed, sample_rate, mode):
    sizes = {"render": [(8192, 1, 99991)]}.get(mode, [(64,), (441,), (4096, 1, 997)])
    for block_sizes in sizes:
        stream = StreamingSeparator("drums", sample_rate, 1, mode, transparent)
        latency = stream.latency_samples
        assert latency == sum(
            (stream.latency.algorithmic, stream.latency.resampling, stream.latency.buffering)
        )
        at = 12_345
        audio = np.zeros((1, at + latency + 3000), np.float32)
        audio[0, at] = 1
        out = feed(stream, audio, block_sizes)
        assert np.abs(out[0]).argmax() == at + latency
        assert np.abs(out[0, latency:] - audio[0, :-latency]).max() < 1e-4
        assert not out[0, :latency].any()


@pytest.mark.parametrize("mode, sample_rate", [("mix", 48000), ("track", 44100)])
def test_the_partition_does_not_matter(separator, feed, music, mode, sample_rate):
    audio = music(2, sample_rate)
    queries = ["drums", Query("wind", negative=True)]
    random = tuple(np.random.default_rng(5).integers(1, 3000, 50))
    outputs = []
    for sizes in [(4096,), (1,), (64,), (441,), (512,), (997,), random, (audio.shape[1],)]:
        stream = StreamingSeparator(queries, sample_rate, 2, mode, separator)
        outputs.append(feed(stream, audio, sizes, flush=True))
    assert all(np.array_equal(outputs[0], other) for other in outputs[1:])
    assert np.abs(outputs[0]).max() > 1e-3


@settings(max_examples=25, deadline=None)
@given(
    hop=st.integers(1, 40),
    context=st.integers(0, 40),
    look_ahead=st.integers(0, 40),
    sample_rate=st.sampled_from([8000, 11025, 16000, 22050, 32000, 44101, 47999, 50000, 96000]),
    sizes=st.lists(st.integers(1, 2000), min_size=1, max_size=4),
)
def test_any_windows_and_rate_keep_their_latency(
    transparent_with, feed, music, hop, context, look_ahead, sample_rate, sizes
):
    config = SeparatorConfig(name="toy", window=256, hop=100, widths=(1,) * 6)
    windows = Windows(hop, context, look_ahead)
    stream = StreamingSeparator(
        "drums", sample_rate, 1, windows, transparent_with(config), outputs="stems"
    )
    audio = music(1, 9000)
    out = feed(stream, audio, sizes, flush=True)
    late = out[..., stream.latency_samples :]
    assert late.shape[-1] == audio.shape[-1]
    assert np.abs(late.sum(0) - audio).max() <= 1e-6
    assert not out[..., : stream.latency_samples].any()


def test_render_equals_the_whole_file(separator, feed, music):
    audio = music(1, 44100 * 27)
    whole = separator.separate(audio, 44100, ["drums"])["drums"]
    stream = StreamingSeparator("drums", 44100, 1, "render", separator)
    live = feed(stream, audio, (4410,), flush=True)[:, stream.latency_samples :]
    assert np.abs(live - whole).max() <= 1e-4


@pytest.mark.parametrize("mode", ["render", "mix", "track", SHORT])
@pytest.mark.parametrize("sample_rate", [32000, 48000, 96000])
def test_null_while_everything_changes(separator, music, mode, sample_rate):
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
def test_changes_do_not_click_and_come_within_a_hop(separator, feed, change, mode):
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
    hop = stream.windows.hop * config.hop * rate // config.sample_rate
    fade = 0.1 * rate
    reached = half + int(hop + stream.latency.resampling + stream.latency.buffering + fade)
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
    assert {rows for rows, _ in network.asked} == {2, 4}
    assert network.asked <= network.prepared
    # Another number of queries is ready from the next start on.
    stream.set_queries("drums")
    feed(stream, audio)
    assert not network.asked <= network.prepared
    stream.reset()
    assert (1, max(frames for _, frames in network.asked)) in network.prepared


def test_broken_blocks_become_silence(separator, feed, music):
    audio = music(2, 48_000)
    clean = audio.copy()
    clean[:, 5120:5632] = 0
    clean[:, 20480:20992] = 0
    expected = feed(StreamingSeparator("drums", 48000, 2, "track", separator), clean)
    for bad in (np.nan, np.inf, -np.inf, 1e30):
        broken = audio.copy()
        broken[1, 5200] = bad
        broken[:, 20480:20992] = bad
        stream = StreamingSeparator("drums", 48000, 2, "track", separator)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            out = feed(stream, broken)
        assert stream.replaced_blocks == 2
        assert np.array_equal(out, expected)


def test_loud_sound_is_not_broken(transparent, feed, music):
    audio = music(1, 40_000) * 5e5
    stream = StreamingSeparator("drums", 32000, 1, "track", transparent)
    out = feed(stream, audio, flush=True)[:, stream.latency_samples :]
    assert stream.replaced_blocks == 0
    assert np.abs(out / 5e5 - audio / 5e5).max() < 1e-5


@pytest.mark.parametrize("level", [0, 1e-30, 1e-42])
def test_silence_does_not_reach_the_network(transparent, feed, level):
    stream = StreamingSeparator("drums", 48000, 2, "track", transparent)
    silence = np.full((2, 96_000), level, np.float32)
    assert not feed(stream, silence, flush=True).any()
    assert transparent.estimator.calls == 0


def test_reset_and_flush_start_a_new_stream(separator, feed, music):
    audio = music(2, 50_000)
    stream = StreamingSeparator("drums", 44100, 2, "track", separator)
    first = feed(stream, audio)
    stream.reset()
    assert np.array_equal(feed(stream, audio), first)
    tail = stream.flush()
    assert tail.shape == (2, stream.latency_samples)
    whole = np.concatenate([first, tail], -1)[:, stream.latency_samples :]
    assert whole.shape == audio.shape
    assert np.array_equal(feed(stream, audio), first)


@pytest.mark.parametrize("frames", [1, 7, 479, 480, 5000, 16093, 16094])
def test_short_streams_come_out_whole(transparent, feed, music, frames):
    audio = music(1, frames)
    stream = StreamingSeparator("drums", 48000, 1, "track", transparent)
    out = feed(stream, audio, (100,), flush=True)[:, stream.latency_samples :]
    assert out.shape == audio.shape
    assert np.abs(out - audio).max() < 1e-4


@pytest.mark.parametrize(
    "block, error, message",
    [
        (np.zeros((2, 64)), TypeError, "float64"),
        (np.zeros((2, 64), np.int16), TypeError, "int16"),
        ([[0.0], [0.0]], TypeError, "list"),
        (np.zeros((1, 64), np.float32), ValueError, r"\(2, frames\)"),
        (np.zeros(64, np.float32), ValueError, r"\(2, frames\)"),
        (np.zeros((2, 0), np.float32), ValueError, "at least one frame"),
        (np.zeros((64, 2), np.float32).T, ValueError, "contiguous"),
        (np.zeros((2, 128), np.float32)[:, ::2], ValueError, "contiguous"),
    ],
)
def test_impossible_blocks_leave_the_stream_alone(separator, feed, music, block, error, message):
    audio = music(2, 20_000)
    expected = feed(StreamingSeparator("drums", 48000, 2, "track", separator), audio)
    stream = StreamingSeparator("drums", 48000, 2, "track", separator)
    first = feed(stream, audio[:, :10_240])
    with pytest.raises(error, match=message):
        stream.process(block)
    second = feed(stream, audio[:, 10_240:])
    assert np.array_equal(np.concatenate([first, second], -1), expected)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"sample_rate": 0}, ValueError, "sample_rate"),
        ({"channels": 0}, ValueError, "channels"),
        ({"channels": 1.5}, ValueError, "channels"),
        ({"outputs": "everything"}, ValueError, "outputs"),
        ({"queries": []}, QueryError, "no query"),
        ({"queries": Query("wind", negative=True)}, QueryError, "negative"),
        ({"strength": 0}, ValueError, "strength"),
        ({"strength": float("nan")}, ValueError, "strength"),
        ({"remainder_db": float("nan")}, ValueError, "remainder_db"),
    ],
)
def test_impossible_streams(separator, arguments, error, message):
    given_arguments = {"queries": "drums", "sample_rate": 48000, "channels": 2, **arguments}
    with pytest.raises(error, match=message):
        StreamingSeparator(model=separator, **given_arguments)


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


def test_memory_does_not_grow(transparent, music):
    block = music(2, 64)
    stream = StreamingSeparator("drums", 48000, 2, "track", transparent)
    for _ in range(3000):
        stream.process(block)
    tracemalloc.start()
    try:
        for _ in range(500):
            stream.process(block)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5000):
            stream.process(block)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Between two hops the buffers of one hop come and go.
    assert after - before < 200_000


def test_ten_hours(transparent_with, monkeypatch):
    # At a low rate and with long quanta ten hours are soon over.
    monkeypatch.setattr("plugin_bridge.latency._QUANTUM_SECONDS", 1.3)
    config = SeparatorConfig(name="slow", sample_rate=1000, window=2048, hop=640, widths=(1,) * 6)
    clear = transparent_with(config)
    rate = 1500
    stream = StreamingSeparator("drums", rate, 1, Windows(8, 16, 8), clear)
    rng = np.random.default_rng(1)
    history = np.zeros((1, stream.latency_samples), np.float32)
    sizes = []
    for _ in range(36_000 // 20):
        block = rng.standard_normal((1, rate * 20)).astype(np.float32)
        history = np.concatenate([history, block], -1)
        out = stream.process(block)
        sizes.append(stream._out._data.size + stream._in._data.size)
        assert np.abs(out - history[:, : out.shape[1]]).max() < 1e-3
        history = history[:, out.shape[1] :]
    assert sizes[-1] == sizes[len(sizes) // 10]


def test_latency_is_a_sum_of_parts(separator):
    config = separator.estimator.config
    same = stream_latency(Windows(8, 48, 8), config, config.sample_rate)
    assert same.resampling == 0
    assert same.algorithmic == 15 * config.hop + config.window - 1
    assert same.total == same.algorithmic + same.buffering

"""The live engine: latency to the sample, partitions, lengths, copies."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.errors import QueryError
from audiosep_core.model.config import SeparatorConfig
from plugin_bridge import Query, StreamingSeparator, Windows, WindowSeconds
from plugin_bridge.live.latency import stream_latency

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
    config = SeparatorConfig(name="toy", n_fft=256, hop_length=100, widths=(1,) * 6)
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
    "copied", [copy.copy, copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))]
)
def test_a_copy_is_a_stream_of_its_own(separator, feed, music, copied):
    audio, other = music(2, 12_000), music(2, 12_000, seed=8)
    stream = StreamingSeparator(["drums", "wind"], 48000, 2, "track", separator, outputs="stems")
    expected = feed(stream, other)
    stream.reset()
    whole = feed(stream, audio)
    stream.reset()
    first = feed(stream, audio[:, :4096])
    second = copied(stream)
    assert second.settings == stream.settings and second.format == stream.format
    assert np.array_equal(feed(second, other), expected)
    assert np.array_equal(np.concatenate([first, feed(stream, audio[:, 4096:])], -1), whole)


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
    monkeypatch.setattr("plugin_bridge.live.latency._QUANTUM_SECONDS", 1.3)
    config = SeparatorConfig(
        name="slow", sample_rate=1000, n_fft=2048, hop_length=640, widths=(1,) * 6
    )
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


def test_latency_is_a_sum_of_parts(windowed):
    config = windowed.estimator.config
    same = stream_latency(Windows(8, 48, 8), config, config.sample_rate)
    assert same.resampling == 0
    assert same.algorithmic == 15 * config.hop_length + config.n_fft - 1
    assert same.total == same.algorithmic + same.buffering

"""The processor behaves as a native plugin does; counts are compared with one that has latency."""

import copy
import pickle
import threading

import numpy as np
import pytest

from audiosep_core.errors import LayoutError, QueryError
from plugin_bridge import AudioSepProcessor, Query, StreamingSeparator

RATE = 48_000


def make(separator, **settings):
    return AudioSepProcessor("drums", "track", separator, **settings)


def in_calls(effect, audio, sizes, axis=-1, **arguments):
    parts, position, turn = [], 0, 0
    while position < audio.shape[axis]:
        size = sizes[turn % len(sizes)]
        index = [slice(None)] * audio.ndim
        index[axis] = slice(position, position + size)
        parts.append(effect.process(audio[tuple(index)], RATE, reset=False, **arguments))
        position, turn = position + size, turn + 1
    return parts


@pytest.mark.parametrize("mode", ["render", "mix", "track"])
def test_a_recording_comes_back_in_time(transparent, music, mode):
    audio = music(2, 70_001)
    processor = AudioSepProcessor("drums", mode, transparent)
    out = processor(audio, RATE)
    assert out.shape == audio.shape and out.dtype == np.float32
    assert np.abs(out - audio).max() < 1e-4
    assert np.array_equal(processor(audio, RATE), out)


def test_a_recording_equals_its_stream(separator, music):
    audio = music(2, 60_000)
    processor = make(separator)
    whole = processor(audio, RATE)
    for sizes in [(512,), (10_000, 3, 1)]:
        processor.reset()
        parts = in_calls(processor, audio, sizes)
        parts.append(processor.flush())
        assert np.array_equal(np.concatenate(parts, -1), whole)
    engine = StreamingSeparator("drums", RATE, 2, "track", separator)
    direct = np.concatenate([engine.process(audio), engine.flush()], -1)
    assert np.array_equal(whole, direct[:, engine.latency_samples :])


def test_calls_return_as_many_frames_as_a_native_plugin(transparent, music):
    internal = pytest.importorskip("pedalboard_native")._internal
    processor = make(transparent)
    native = internal.AddLatency(processor.reported_latency_samples)
    audio = music(1, 60_000)
    # Growing blocks make the native plugin lose what it holds.
    sizes = (7000, 1, 4000, 333)
    for effect_reset in (False, True):
        if effect_reset:
            assert processor(audio, RATE).shape == native(audio, RATE).shape
        ours = in_calls(processor, audio, sizes)
        theirs = in_calls(native, audio, sizes)
        assert [part.shape for part in ours] == [part.shape for part in theirs]
        difference = np.concatenate(ours, -1) - np.concatenate(theirs, -1)
        assert np.abs(difference).max() < 1e-4
        processor.reset()
        native.reset()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts(transparent, music, dtype):
    processor = make(transparent)
    stereo = music(2, 20_000).astype(dtype)
    for audio in (stereo, stereo.T, stereo[0], stereo[:1], stereo[:1].T, stereo[:, ::2]):
        for buffer_size in (8192, 1000):
            out = processor(audio, RATE, buffer_size)
            assert out.shape == audio.shape and out.dtype == np.float32
            assert np.abs(out - audio).max() < 1e-4
    processor.reset()
    parts = in_calls(processor, stereo.T, (700,), axis=0)
    parts.append(processor.flush())
    assert np.abs(np.concatenate(parts, 0) - stereo.T).max() < 1e-4


def test_short_and_square_blocks_keep_the_known_layout(transparent, music):
    processor = make(transparent)
    with pytest.raises(RuntimeError, match="square"):
        processor(np.ones((2, 2), np.float32), RATE)
    audio = music(2, 20_000)
    parts = in_calls(processor, audio, (5, 2, 1, 4000))
    parts.append(processor.flush())
    assert np.abs(np.concatenate(parts, -1) - audio).max() < 1e-4


def test_empty_arrays_change_nothing(transparent):
    processor = make(transparent)
    for shape in [(2, 0), (0, 2), (0,)]:
        assert processor(np.zeros(shape, np.float32), RATE).shape == shape
    assert processor.flush().shape[-1] == 0


def test_target_and_residual_sum_to_the_input(separator, music):
    audio = music(2, 50_000)
    target = make(separator)(audio, RATE)
    residual = make(separator, outputs="residual")(audio, RATE)
    assert np.abs(target + residual - audio).max() <= 1e-6
    half = make(separator, mix=0.5)(audio, RATE)
    assert np.abs(half - (target + 0.5 * residual)).max() <= 1e-6
    assert np.abs(make(separator, mix=0)(audio, RATE) - audio).max() <= 1e-6


def test_settings_take_effect_and_do_not_click(transparent):
    class Half(type(transparent.estimator)):
        def masks(self, magnitude, conditions):
            return 0.5 * super().masks(magnitude, conditions)

    transparent.estimator = Half(transparent.estimator.config)
    time = np.arange(RATE * 2) / RATE
    audio = (0.5 * np.sin(2 * np.pi * 100 * time)).astype(np.float32)
    processor = make(transparent)
    parts = []
    for number, at in enumerate(range(0, len(audio), 2000)):
        if number == 20:
            processor.mix = 0.2
        if number == 24:
            processor.outputs = "residual"
            processor.mix = 1.0
        if number == 30:
            processor.strength = 3.0
        if number == 36:
            processor.queries = [Query("drums", gain_db=-20)]
        parts.append(processor.process(audio[at : at + 2000], RATE, reset=False))
    parts.append(processor.flush())
    out = np.concatenate(parts)
    assert out.shape == audio.shape
    steady = np.abs(np.diff(audio)).max()
    assert np.abs(np.diff(out)).max() <= 1.15 * steady
    latency = processor.reported_latency_samples
    assert np.abs(out).max() > 0.4
    assert (processor.mix, processor.outputs, processor.strength) == (1.0, "residual", 3.0)
    assert processor.queries == [Query("drums", gain_db=-20)]
    assert latency <= 16_383


def test_changed_settings_hold_for_the_next_recording(separator, music):
    audio = music(2, 30_000)
    processor = make(separator)
    processor(audio, RATE)
    processor.queries, processor.strength, processor.outputs = "wind", 2.0, "residual"
    fresh = AudioSepProcessor("wind", "track", separator, strength=2.0, outputs="residual")
    assert np.array_equal(processor(audio, RATE), fresh(audio, RATE))


def test_former_names_of_settings(separator):
    processor = make(separator)
    processor.query, processor.output = "wind", "residual"
    assert (processor.queries, processor.outputs) == ("wind", "residual")
    assert (processor.query, processor.output) == ("wind", "residual")


def test_flush_returns_what_was_held_back(transparent, music):
    processor = make(transparent)
    audio = music(2, 9000)
    assert processor(audio, RATE, reset=False).shape == (2, 0)
    assert np.abs(processor.flush() - audio).max() < 1e-4
    assert processor.flush().shape == (2, 0)


def test_attributes_of_a_plugin(transparent):
    processor = make(transparent)
    assert processor.is_effect and not processor.is_instrument
    before = processor.reported_latency_samples
    processor(np.zeros((2, 500), np.float32), RATE)
    assert processor.reported_latency_samples == before
    processor(np.zeros((2, 500), np.float32), 96_000)
    assert processor.reported_latency_samples > before
    assert "drums" in repr(processor)


def test_another_rate_or_other_channels_need_a_new_stream(separator, music):
    audio = music(2, 30_000)
    processor = make(separator)
    expected = np.concatenate([*in_calls(processor, audio, (5000,)), processor.flush()], -1)
    parts = in_calls(processor, audio[:, :15_000], (5000,))
    with pytest.raises(ValueError, match="48000 Hz"):
        processor(audio, 44_100, reset=False)
    with pytest.raises(LayoutError, match="2 channels"):
        processor(audio[0], RATE, reset=False)
    parts += in_calls(processor, audio[:, 15_000:], (5000,))
    assert np.array_equal(np.concatenate([*parts, processor.flush()], -1), expected)
    assert processor(audio[0], 44_100, reset=False).ndim == 1


def test_broken_samples(transparent, music):
    audio = music(2, 30_000)
    audio[0, 12_345] = np.nan
    processor = make(transparent)
    with pytest.raises(ValueError, match="NaN"):
        processor(audio, RATE)
    parts = in_calls(processor, audio, (30_000,), buffer_size=1000)
    out = np.concatenate([*parts, processor.flush()], -1)
    silenced = audio.copy()
    silenced[:, 12_000:13_000] = 0
    assert np.abs(out - silenced).max() < 1e-4


@pytest.mark.parametrize(
    "audio, arguments, error, message",
    [
        (np.ones((2, 99), np.int16), {}, TypeError, "int16"),
        (np.ones((2, 99), bool), {}, TypeError, "bool"),
        ([0, 1], {}, TypeError, "int64"),
        (np.ones((2, 2, 99), np.float32), {}, RuntimeError, "channels, frames"),
        (np.ones((2, 99), np.float32), {"sample_rate": 0}, ValueError, "sample_rate"),
        (np.ones((2, 99), np.float32), {"sample_rate": -48000}, ValueError, "sample_rate"),
        (np.ones((2, 99), np.float32), {"sample_rate": np.nan}, ValueError, "sample_rate"),
        (np.ones((2, 99), np.float32), {"sample_rate": 44100.5}, ValueError, "sample_rate"),
        (np.ones((2, 99), np.float32), {"sample_rate": "x"}, TypeError, "sample_rate"),
        (np.ones((2, 99), np.float32), {"buffer_size": 0}, ValueError, "buffer_size"),
        (np.ones((2, 99), np.float32), {"buffer_size": -1}, ValueError, "buffer_size"),
        (np.ones((2, 99), np.float32), {"buffer_size": 1.5}, TypeError, "buffer_size"),
    ],
)
def test_impossible_calls(transparent, audio, arguments, error, message):
    processor = make(transparent)
    with pytest.raises(error, match=message):
        processor(audio, **{"sample_rate": RATE, **arguments})


def test_arrays_however_they_lie_in_memory(transparent, music):
    audio = music(2, 9_000)
    expected = make(transparent)(audio, RATE)
    for form in (np.asfortranarray(audio), audio.astype(">f8"), audio.tolist()):
        assert np.array_equal(make(transparent)(form, np.float32(RATE), np.int64(512)), expected)
    frames_first = make(transparent)(np.asfortranarray(audio.T), RATE)
    assert np.array_equal(frames_first.T, expected)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda effect: pickle.loads(pickle.dumps(effect))]
)
def test_a_copy_has_a_stream_of_its_own(separator, music, copied):
    audio, other = music(2, 12_000), music(2, 12_000, seed=8)
    processor = make(separator, mix=0.5, outputs="residual", strength=2)
    whole = np.concatenate(in_calls(processor, audio, [512]), -1)
    processor.reset()
    first = in_calls(processor, audio[:, :4_096], [512])
    processor.query = "wind"
    second = copied(processor)
    processor.query = "drums"
    assert repr(second) == repr(processor).replace("drums", "wind")
    second.query = "drums"
    expected = make(separator, mix=0.5, outputs="residual", strength=2)(other, RATE)
    assert np.array_equal(second(other, RATE), expected)
    rest = in_calls(processor, audio[:, 4_096:], [512])
    assert np.concatenate([*first, *rest], -1).shape == whole.shape


@pytest.mark.parametrize(
    "name, value, error",
    [
        ("mix", 1.1, ValueError),
        ("mix", float("nan"), ValueError),
        ("mix", "wet", ValueError),
        ("outputs", "both", ValueError),
        ("strength", 0, ValueError),
        ("queries", "", QueryError),
        ("queries", [], QueryError),
    ],
)
def test_impossible_settings(transparent, name, value, error):
    processor = make(transparent)
    for _ in range(2):
        before = getattr(processor, name)
        with pytest.raises(error):
            setattr(processor, name, value)
        assert getattr(processor, name) == before
        processor(np.zeros(500, np.float32), RATE)
    with pytest.raises(error):
        AudioSepProcessor(**{"queries": "drums", "model": transparent, name: value})


def test_many_threads_share_a_processor(separator, music):
    audio = music(1, 30_000)
    processor = make(separator)
    expected = processor(audio, RATE)
    results = []

    def call():
        results.append(processor(audio, RATE))
        processor.strength = 1.0

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(np.array_equal(result, expected) for result in results)


def test_pedalboard_is_not_imported_for_a_processor():
    import subprocess
    import sys

    code = (
        "import sys; from plugin_bridge import AudioSepProcessor, StreamingSeparator;"
        "assert not {'pedalboard', 'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Stems through plugins of their own: against the stems of the engine, and pedalboard by hand."""

import copy
import pickle

import numpy as np
import pytest

pedalboard = pytest.importorskip("pedalboard")
pedalboard_native = pytest.importorskip("pedalboard_native")

from audiosep_core.errors import QueryError  # noqa: E402
from plugin_bridge import (  # noqa: E402
    AudioSepProcessor,
    BridgeProcessor,
    Query,
    SeparationBoard,
    SeparationMix,
    StreamingSeparator,
)

RATE = 48_000


def split(separator, stems, rest=(), **arguments):
    return SeparationBoard.split(stems, rest, "track", separator, **arguments)


def engine_rows(separator, queries, audio, mode="track"):
    engine = StreamingSeparator(queries, RATE, audio.shape[0], mode, separator, outputs="stems")
    rows = np.concatenate([engine.process(audio), engine.flush()], -1)
    return rows[..., engine.latency_samples :]


def test_every_stem_goes_through_its_own_plugins(separator, music):
    audio = music(2, 60_000)
    latency = pedalboard_native._internal.AddLatency(500)
    board = split(
        separator,
        {"a person singing": [pedalboard.Reverb(), latency], "drums": pedalboard.Gain(-6)},
        rest=[pedalboard.HighpassFilter(500)],
    )
    voice, drums, rest = engine_rows(separator, ["a person singing", "drums"], audio)
    expected = (
        pedalboard.Reverb()(voice, RATE)
        + pedalboard.Gain(-6)(drums, RATE)
        + pedalboard.HighpassFilter(500)(rest, RATE)
    )
    assert np.abs(board(audio, RATE) - expected).max() < 1e-5
    assert np.abs(board(audio.T.astype(">f4"), RATE).T - expected).max() < 1e-5


def test_a_stream_equals_the_recording(separator, music):
    audio = music(2, 50_000)
    latency = pedalboard_native._internal.AddLatency(500)
    board = split(separator, {"drums": [latency]}, [pedalboard.Gain(3)])
    whole = board(audio, RATE)
    for sizes in [(4096,), (1000, 3, 1)]:
        board.reset()
        parts, position, turn = [], 0, 0
        while position < audio.shape[1]:
            size = sizes[turn % len(sizes)]
            parts.append(board(audio[:, position : position + size], RATE, reset=False))
            assert parts[-1].shape[1] <= size
            position, turn = position + size, turn + 1
        parts.append(board.flush())
        out = np.concatenate(parts, -1)
        assert out.shape == audio.shape and np.abs(out - whole).max() < 1e-6
    processor = AudioSepProcessor("drums", "track", separator)
    assert board.reported_latency_samples == processor.reported_latency_samples


def test_without_plugins_the_input_comes_back(separator, music):
    audio = music(2, 40_000)
    assert np.abs(split(separator, {"drums": [], "rain": []})(audio, RATE) - audio).max() < 1e-5
    quiet = split(separator, {"drums": []}, rest=None)(audio, RATE)
    target = AudioSepProcessor("drums", "track", separator)(audio, RATE)
    assert np.abs(quiet - target).max() < 1e-6


def test_what_cannot_be_split(separator, transparent):
    processor = AudioSepProcessor("drums", "track", transparent)
    with pytest.raises(QueryError, match="twice"):
        split(separator, {"drums": [], " drums": []})
    with pytest.raises(QueryError, match="no query"):
        split(separator, {})
    with pytest.raises(ValueError, match="one stream"):
        split(separator, {"drums": [processor], "rain": processor})
    with pytest.raises(TypeError, match="mapping"):
        split(separator, ["drums"])
    with pytest.raises(TypeError):
        split(separator, {"drums": ["reverb"]})
    with pytest.raises(ValueError, match="negative"):
        split(separator, {"drums": [], Query("rain", negative=True): []})


def test_copies_have_the_settings_and_no_sound(separator, music):
    audio = music(2, 30_000)
    processor = AudioSepProcessor(
        [Query("drums", -3.0), Query("rain", negative=True)],
        "track",
        separator,
        strength=2,
        mix=0.7,
        outputs="residual",
    )
    board = SeparationBoard([processor, SeparationMix([split(separator, {"drums": []})])])
    board(audio[:, :7000], RATE, reset=False)
    for make in (copy.copy, copy.deepcopy, lambda plugin: pickle.loads(pickle.dumps(plugin))):
        other = make(processor)
        assert repr(other) == repr(processor) and other is not processor
        assert other.settings == processor.settings
        assert np.array_equal(other(audio, RATE), make(processor)(audio, RATE))
    another = pickle.loads(pickle.dumps(board))
    assert np.array_equal(another(audio, RATE), copy.deepcopy(board)(audio, RATE))
    far = BridgeProcessor("drums", "track", mix=0.5, socket="/nowhere")
    assert repr(pickle.loads(pickle.dumps(far))) == repr(copy.deepcopy(far)) == repr(far)


def test_parameters_are_listed_as_they_are(transparent):
    processor = AudioSepProcessor("drums", "track", transparent, mix=0.25)
    assert list(processor.parameters) == ["queries", "strength", "mix", "outputs"]
    mix = processor.parameters["mix"]
    assert (mix.value, mix.min_value, mix.max_value) == (0.25, 0.0, 1.0)
    assert processor.parameters["outputs"].valid_values == ("target", "residual")
    for name, parameter in processor.parameters.items():
        setattr(processor, name, parameter.value)
    assert processor.parameters["mix"] == mix


@pytest.mark.parametrize("dtype", [">f4", ">f8"])
def test_either_byte_order(transparent, music, dtype):
    audio = music(2, 20_000)
    for plugin in (
        AudioSepProcessor("drums", "track", transparent),
        SeparationBoard([pedalboard.Gain(0)]),
        SeparationMix([pedalboard.Gain(0)]),
    ):
        out = plugin(audio.astype(dtype), RATE)
        assert out.dtype == np.float32 and np.abs(out - audio).max() < 1e-4

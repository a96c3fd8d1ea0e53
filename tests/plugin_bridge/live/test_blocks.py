"""Blocks as they come: however they lie in memory, broken, silent, or no audio at all."""

import warnings

import numpy as np
import pytest

from plugin_bridge import StreamingSeparator


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


def float64(block):
    return block.astype(np.float64)


def big_endian(block):
    return block.astype(">f4")


def frames_first(block):
    return np.ascontiguousarray(block.T).T


def every_second(block):
    spread = np.zeros((block.shape[0], 2 * block.shape[1]), np.float32)
    spread[:, ::2] = block
    return spread[:, ::2]


def backwards(block):
    return np.ascontiguousarray(block[:, ::-1])[:, ::-1]


def read_only(block):
    block = block.copy()
    block.flags.writeable = False
    return block


@pytest.mark.parametrize(
    "form",
    [float64, big_endian, frames_first, every_second, backwards, read_only, np.ndarray.tolist],
)
def test_blocks_however_they_lie_in_memory(separator, feed, music, form):
    audio = music(2, 9_000)
    expected = feed(StreamingSeparator("drums", 48000, 2, "track", separator), audio)
    stream = StreamingSeparator("drums", np.int64(48000), np.int16(2), "track", separator)
    parts = [stream.process(form(part)) for part in np.split(audio, [1, 4000], 1)]
    parts.insert(1, stream.process(np.zeros((2, 0))))
    assert [part.shape[1] for part in parts] == [1, 0, 3999, 5000]
    assert np.array_equal(np.concatenate(parts, -1), expected)


def test_mono_needs_no_axis_for_its_channel(separator, music):
    audio = music(1, 9_000)
    expected = StreamingSeparator("drums", 48000, 1, "track", separator).process(audio)
    for outputs, shape in (("target", (9_000,)), ("target+residual", (2, 9_000))):
        stream = StreamingSeparator("drums", 48000, 1, "track", separator, outputs=outputs)
        out = stream.process(audio[0])
        assert out.shape == shape
        assert np.array_equal(out.reshape(-1, 9_000)[0], expected[0])


@pytest.mark.parametrize(
    "block, error, message",
    [
        (np.zeros((2, 64), np.int16), TypeError, "int16"),
        (np.zeros((2, 64), complex), TypeError, "complex"),
        ([[0], [0]], TypeError, "int64"),
        (None, TypeError, "object"),
        (np.zeros((1, 64), np.float32), ValueError, r"\(2, frames\)"),
        (np.zeros((64, 2), np.float32), ValueError, r"give its \.T"),
        (np.zeros(64, np.float32), ValueError, r"\(2, frames\)"),
        (np.zeros((1, 2, 64), np.float32), ValueError, r"\(2, frames\)"),
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

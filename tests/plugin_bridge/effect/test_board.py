"""The board against pedalboard's own: the same samples, and processors in time between them."""

import subprocess
import sys

import numpy as np
import pytest

pedalboard = pytest.importorskip("pedalboard")
pedalboard_native = pytest.importorskip("pedalboard_native")

from plugin_bridge import AudioSepProcessor, SeparationBoard  # noqa: E402

RATE = 48_000


def natives():
    return [
        pedalboard.Compressor(threshold_db=-30, ratio=8),
        pedalboard.Delay(delay_seconds=0.05),
        pedalboard.Resample(target_sample_rate=16_000),
        pedalboard.PitchShift(semitones=3),
        pedalboard.Mix([pedalboard.Gain(-6), pedalboard.Chain([pedalboard.HighpassFilter(800)])]),
        pedalboard.Reverb(room_size=0.4),
    ]


def latent(samples):
    return pedalboard_native._internal.AddLatency(samples)


@pytest.mark.parametrize("channels", [1, 2])
def test_native_plugins_alone_give_the_same_samples(music, channels):
    audio = music(channels, 60_000)
    ours, theirs = SeparationBoard(natives()), pedalboard.Pedalboard(natives())
    assert np.array_equal(ours(audio, RATE), theirs(audio, RATE))
    assert np.array_equal(ours(audio.T, RATE, 700), theirs(audio.T, RATE, 700))
    ours.reset()
    theirs.reset()
    for at in range(0, 60_000, 7001):
        block = audio[:, at : at + 7001]
        a, b = ours(block, RATE, reset=False), theirs(block, RATE, reset=False)
        assert a.shape == b.shape and np.array_equal(a, b)


def test_processors_among_native_plugins_are_in_time(transparent, music):
    audio = music(2, 50_000)
    processor = AudioSepProcessor("drums", "track", transparent)
    first = [pedalboard.Compressor(threshold_db=-30, ratio=8), pedalboard.PitchShift(semitones=0)]
    last = [latent(321), pedalboard.Gain(-3)]
    board = SeparationBoard([*first, processor, *last])
    expected = pedalboard.Pedalboard([*first, *last])(audio, RATE)
    out = board(audio, RATE)
    assert out.shape == audio.shape
    assert np.abs(out - expected).max() < 1e-4


@pytest.mark.parametrize("sizes", [(4096,), (1000, 1, 2, 333)])
def test_a_mixed_board_streams(transparent, music, sizes):
    audio = music(2, 50_000)
    processor = AudioSepProcessor("drums", "track", transparent)
    board = SeparationBoard([latent(777), processor, latent(100), pedalboard.Gain(0)])
    for _ in range(2):
        parts, position, turn = [], 0, 0
        while position < audio.shape[1]:
            size = sizes[turn % len(sizes)]
            block = audio[:, position : position + size]
            parts.append(board(block, RATE, reset=False))
            assert parts[-1].shape[1] <= block.shape[1]
            position, turn = position + size, turn + 1
        parts.append(board.flush())
        out = np.concatenate(parts, -1)
        assert out.shape == audio.shape
        assert np.abs(out - audio).max() < 1e-4
    assert board.flush().shape == (2, 0)


def test_boards_nest(transparent, music):
    audio = music(2, 30_000)
    processor = AudioSepProcessor("drums", "track", transparent)
    inner = SeparationBoard([pedalboard.Gain(-6), processor])
    native = pedalboard.Pedalboard([pedalboard.Gain(6), pedalboard.Mix([pedalboard.Gain(0)])])
    board = SeparationBoard([inner, native])
    assert np.abs(board(audio, RATE) - audio).max() < 1e-4
    assert board.reported_latency_samples == processor.reported_latency_samples
    board.reset()
    streamed = [
        board(audio[:, :20_000], RATE, reset=False),
        board(audio[:, 20_000:], RATE, reset=False),
    ]
    out = np.concatenate([*streamed, board.flush()], -1)
    assert np.abs(out - audio).max() < 1e-4


def test_it_is_a_list(transparent):
    gain, reverb = pedalboard.Gain(1), pedalboard.Reverb()
    processor = AudioSepProcessor("drums", "track", transparent)
    board = SeparationBoard([gain])
    board.append(processor)
    board.insert(1, reverb)
    assert list(board) == [gain, reverb, processor] and len(board) == 3
    assert board[-1] is processor and processor in board and board.index(reverb) == 1
    assert next(reversed(board)) is processor
    assert isinstance(board[:2], SeparationBoard) and list(board[:2]) == [gain, reverb]
    del board[0]
    board.remove(reverb)
    assert board.pop() is processor and not board
    board += [gain, reverb]
    board[0] = processor
    assert list(board) == [processor, reverb]
    assert repr(SeparationBoard([gain])).startswith(
        "<SeparationBoard (Pedalboard) with 1 plugin: ["
    )
    with pytest.raises(IndexError):
        board[5]
    with pytest.raises(IndexError):
        board.insert(9, gain)
    board.clear()
    assert board.is_effect and np.array_equal(board(np.ones((2, 9)), RATE), np.ones((2, 9)))


def test_what_cannot_be_on_a_board(transparent):
    processor = AudioSepProcessor("drums", "track", transparent)
    board = SeparationBoard([processor])
    for item, error in (("x", TypeError), (np.ones(3), TypeError)):
        with pytest.raises(error):
            board.append(item)
    with pytest.raises(ValueError, match="one stream"):
        board.append(processor)
    with pytest.raises(ValueError, match="one stream"):
        board.append(SeparationBoard([processor]))
    empty = SeparationBoard()
    with pytest.raises(ValueError, match="itself"):
        empty.append(empty)
    assert list(board) == [processor] and not empty


@pytest.mark.parametrize("native", [True, False])
def test_what_hangs_or_lies_is_an_error(transparent, native):
    plugins = [pedalboard.Gain()]
    if not native:
        plugins.append(AudioSepProcessor("drums", "track", transparent))
    board = SeparationBoard(plugins)
    audio = np.ones((2, 99), np.float32)
    for arguments in ({"buffer_size": 0}, {"sample_rate": 0}, {"sample_rate": float("nan")}):
        with pytest.raises(ValueError):
            board(audio, **{"sample_rate": RATE, **arguments})
    with pytest.raises(TypeError):
        board(audio.astype(np.int16), RATE)
    with pytest.raises(RuntimeError):
        board(np.ones((2, 2, 9), np.float32), RATE)
    assert board(np.zeros((2, 0), np.float32), RATE).shape == (2, 0)


def test_a_stream_keeps_its_channels_and_rate(transparent, music):
    board = SeparationBoard([pedalboard.Gain(), AudioSepProcessor("drums", "track", transparent)])
    audio = music(2, 5000)
    board(audio, RATE, reset=False)
    for block, rate in ((audio, 44_100), (audio[:1], RATE)):
        with pytest.raises(ValueError, match="2 channels at 48000 Hz"):
            board(block, rate, reset=False)
    board.reset()
    board(audio[:1], 44_100, reset=False)
    assert np.abs(board.flush() - 10 ** (1 / 20) * audio[:1]).max() < 1e-4


def test_without_pedalboard_one_sentence_says_so():
    code = (
        "import sys; sys.modules['pedalboard'] = None\n"
        "import plugin_bridge\n"
        "assert hasattr(plugin_bridge, 'SeparationBoard')\n"
        "assert set(plugin_bridge.__all__) <= set(dir(plugin_bridge))\n"
        "from plugin_bridge import *\n"
        "from audiosep_core.errors import UsageError\n"
        "try:\n SeparationBoard([])\n"
        "except UsageError as error: assert 'audiosep[pedalboard]' in str(error)\n"
        "else: raise SystemExit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

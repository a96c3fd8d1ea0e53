"""Plugins side by side: as in pedalboard's own mix, and processors in time with the others."""

import numpy as np
import pytest

pedalboard = pytest.importorskip("pedalboard")
pedalboard_native = pytest.importorskip("pedalboard_native")

from plugin_bridge import AudioSepProcessor, SeparationBoard, SeparationMix  # noqa: E402

RATE = 48_000


def latent(samples):
    return pedalboard_native._internal.AddLatency(samples)


def streamed(plugin, audio, sizes):
    parts, position, turn = [], 0, 0
    while position < audio.shape[1]:
        size = sizes[turn % len(sizes)]
        parts.append(plugin(audio[:, position : position + size], RATE, reset=False))
        assert parts[-1].shape[1] <= size
        position, turn = position + size, turn + 1
    parts.append(plugin.flush())
    return np.concatenate(parts, -1)


def test_native_plugins_alone_sum_as_in_pedalboards_mix(music):
    audio = music(2, 30_000)
    plugins = lambda: [pedalboard.Gain(-6), pedalboard.Delay(0.01), latent(100)]  # noqa: E731
    ours, theirs = SeparationMix(plugins())(audio, RATE), pedalboard.Mix(plugins())(audio, RATE)
    assert np.abs(ours - theirs).max() < 1e-6
    assert np.array_equal(SeparationMix()(audio, RATE), audio)


@pytest.mark.parametrize("sizes", [(4096,), (1000, 1, 2, 333)])
def test_paths_of_different_latency_are_in_time(transparent, music, sizes):
    audio = music(2, 50_000)
    processor = AudioSepProcessor("drums", "track", transparent)
    mix = SeparationMix([processor, latent(777), SeparationBoard([pedalboard.Gain(0)])])
    assert mix.reported_latency_samples == processor.reported_latency_samples
    assert np.abs(mix(audio, RATE) - 3 * audio).max() < 3e-4
    for _ in range(2):
        out = streamed(mix, audio, sizes)
        assert out.shape == audio.shape and np.abs(out - 3 * audio).max() < 3e-4
    assert mix.flush().shape == (2, 0)


def test_a_mix_on_a_board_beside_the_dry_signal(transparent, music):
    audio = music(1, 40_000)
    processor = AudioSepProcessor("drums", "track", transparent)
    wet = SeparationBoard([processor, pedalboard.Gain(-6)])
    board = SeparationBoard([pedalboard.Gain(6), SeparationMix([wet, SeparationBoard()])])
    expected = audio * (1 + 10 ** (6 / 20))
    assert np.abs(board(audio, RATE) - expected).max() < 1e-3
    assert np.abs(streamed(board, audio, (3000,)) - expected).max() < 1e-3
    assert board.reported_latency_samples == processor.reported_latency_samples


def test_what_cannot_be_in_a_mix(transparent):
    processor = AudioSepProcessor("drums", "track", transparent)
    with pytest.raises(ValueError, match="one stream"):
        SeparationMix([processor, SeparationBoard([processor])])
    with pytest.raises(TypeError):
        SeparationMix(["reverb"])
    mix = SeparationMix([processor])
    with pytest.raises(ValueError, match="itself"):
        mix.append(SeparationBoard([mix]))
    assert repr(mix).startswith("<SeparationMix with 1 plugin: [<AudioSepProcessor")
    assert isinstance(mix[:1], SeparationMix)

"""Listening: what a sound device would be given, block by block."""

import contextlib
import types

import click.testing
import numpy as np
import pytest

pytest.importorskip("sounddevice", exc_type=ImportError)

from audiosep_core.errors import AudioSepError
from plugin_bridge import StreamingSeparator
from plugin_bridge.commands.listen import callback, command

RATE = 48_000


@pytest.mark.parametrize("channels", [1, 2])
def test_a_microphone_is_separated(separator, music, channels):
    audio = music(channels, 40_000)
    engine = StreamingSeparator("drums", RATE, channels, "track", separator)
    expected = StreamingSeparator("drums", RATE, channels, "track", separator).process(audio)
    heard = callback(engine, None)
    out = np.zeros((40_000, channels), np.float32)
    for at in range(0, 40_000, 500):
        heard(audio[:, at : at + 500].T, out[at : at + 500], 500, None, None)
    assert np.array_equal(out.T, expected)


def test_a_file_is_played_again_and_again(transparent, music):
    loop = music(2, 7000)
    engine = StreamingSeparator("drums", RATE, 2, "track", transparent)
    play = callback(engine, loop)
    out = np.zeros((50_000, 2), np.float32)
    for at in range(0, 50_000, 1000):
        play(out[at : at + 1000], 1000, None, None)
    late = out[engine.latency_samples :].T
    again = np.tile(loop, 8)[:, : late.shape[1]]
    assert np.abs(late - again).max() < 1e-4


class SoundCard:
    """Stands for PortAudio with a card, which machines for tests have none of."""

    PortAudioError = OSError

    def __init__(self):
        self.out = np.zeros((480, 1), np.float32)

    def query_devices(self, device=None, kind=None):
        if kind is None:
            return ["card"]
        if device == "another":
            raise ValueError("No output device matching 'another'")
        return {"default_samplerate": 48_000.0}

    @contextlib.contextmanager
    def Stream(self, samplerate, channels, device, dtype, callback):  # noqa: N802
        callback(np.full((480, channels), 0.1, np.float32), self.out, 480, None, None)
        yield types.SimpleNamespace(latency=(0.004, 0.006))


@pytest.mark.parametrize(
    "options, shown",
    [
        ([], "latency 20.0 ms (959 samples at 48000 Hz), sound card 10.0 ms"),
        (["--mode", "track"], "latency 306.6 ms (14719 samples at 48000 Hz)"),
        (["--mode", "track", "--model", "live"], "latency 20.0 ms"),
    ],
)
def test_the_latency_is_shown_and_a_mode_has_its_model(monkeypatch, options, shown):
    monkeypatch.setattr("plugin_bridge.commands.listen._sounddevice", SoundCard)
    runner = click.testing.CliRunner()
    result = runner.invoke(command, ["-q", "drums", "--seconds", "0.01", *options])
    assert result.exit_code == 0, result.exception
    assert shown in result.stderr


@pytest.mark.parametrize(
    "options, said",
    [
        (["--device", "another"], "No output device matching 'another'; 'audiosep listen --dev"),
        (["--loop", "gone.wav"], "gone.wav does not exist"),
    ],
)
def test_what_is_not_there_is_named(monkeypatch, options, said):
    monkeypatch.setattr("plugin_bridge.commands.listen._sounddevice", SoundCard)
    result = click.testing.CliRunner().invoke(command, ["-q", "drums", *options])
    assert isinstance(result.exception, AudioSepError) and said in str(result.exception)


def test_without_a_device_or_words_one_sentence():
    runner = click.testing.CliRunner()
    silent = runner.invoke(command, [])
    assert silent.exit_code == 2
    missing = runner.invoke(command, ["-q", "drums", "--device", "no such device"])
    assert missing.exit_code != 0 and "device" in str(missing.exception)

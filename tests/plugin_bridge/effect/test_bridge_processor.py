"""An effect over the bridge is the effect of this process."""

import subprocess
import sys

import numpy as np
import pytest

from audiosep_core.errors import BridgeError, LayoutError, ModeError, QueryError
from plugin_bridge import AudioSepProcessor, BridgeProcessor, Query

RATE = 48_000


@pytest.fixture
def make(server):
    """Make effects that are closed with the test."""
    made = []

    def run(queries="drums", mode="track", **settings):
        made.append(BridgeProcessor(queries, mode, socket=server.address.path, **settings))
        return made[-1]

    yield run
    for processor in made:
        processor.close()


@pytest.mark.parametrize("mode", ["mix", "track"])
@pytest.mark.parametrize("outputs", ["target", "residual"])
def test_a_recording(make, local, music, mode, outputs, nothing_left):
    settings = {"strength": 2.0, "mix": 0.7, "outputs": outputs}
    ours = make(mode=mode, **settings)
    theirs = AudioSepProcessor("drums", mode, local, **settings)
    assert ours.reported_latency_samples == theirs.reported_latency_samples
    for audio, rate in ((music(2, 40_000), RATE), (music(1, 30_000)[0], 44_100)):
        assert np.array_equal(ours(audio, rate), theirs(audio, rate))
        assert np.array_equal(ours(audio.T, rate, 700), theirs(audio.T, rate, 700))
        assert ours.reported_latency_samples == theirs.reported_latency_samples
    ours.close()


def test_a_stream_with_changes(make, local, music):
    audio = music(2, 60_000)
    effects = [make(), AudioSepProcessor("drums", "track", local)]
    outputs = []
    for effect in effects:
        parts = []
        for number, at in enumerate(range(0, 60_000, 3000)):
            if number == 6:
                effect.queries = ["wind", Query("rain", gain_db=-3)]
            if number == 9:
                effect.strength, effect.mix, effect.outputs = 3.0, 0.5, "residual"
            parts.append(effect(audio[:, at : at + 3000], RATE, reset=False))
        outputs.append(np.concatenate([*parts, effect.flush()], -1))
        effect.reset()
        assert effect.flush().shape == (2, 0)
    assert np.array_equal(*outputs) and outputs[0].shape == audio.shape
    assert effects[0].strength == 3.0 and effects[0].replaced_blocks == 0


def test_errors_are_those_of_the_other(make, music):
    audio = music(2, 3000)
    processor = make()
    for name, value, error in (("queries", "", QueryError), ("strength", 0, ValueError)):
        with pytest.raises(error):
            setattr(processor, name, value)
        with pytest.raises(error):
            make(**{name: value})
    processor(audio, RATE, reset=False)
    with pytest.raises(LayoutError, match="2 channels"):
        processor(audio[0], RATE, reset=False)
    with pytest.raises(ModeError, match="fast"):
        make(mode="fast")(audio, RATE)
    assert repr(processor) == (
        "<BridgeProcessor queries='drums' mode='track' strength=1 mix=1 outputs='target'>"
    )


def test_without_a_server(tmp_path, music):
    with BridgeProcessor("drums", socket=tmp_path / "none") as processor:
        with pytest.raises(BridgeError, match="audiosep serve"):
            _ = processor.reported_latency_samples
        with pytest.raises(BridgeError, match="audiosep serve"):
            processor(music(2, 3000), RATE)


def test_the_next_recording_finds_the_server_again(start, local, music):
    server = start()
    audio = music(2, 20_000)
    with BridgeProcessor("drums", "track", socket=server.address.path) as processor:
        expected = AudioSepProcessor("drums", "track", local)(audio, RATE)
        assert np.array_equal(processor(audio, RATE), expected)
        server.kill()
        with pytest.raises(BridgeError, match="audiosep serve"):
            processor(audio, RATE)
        server.start()
        assert np.array_equal(processor(audio, RATE), expected)
    with pytest.raises(BridgeError, match="closed"):
        processor(audio, RATE)


def test_on_a_board(make, local, music):
    pedalboard = pytest.importorskip("pedalboard")
    from plugin_bridge import SeparationBoard

    audio = music(2, 30_000)
    outputs = [
        SeparationBoard([pedalboard.Gain(-3), effect, pedalboard.Reverb()])(audio, RATE)
        for effect in (make(), AudioSepProcessor("drums", "track", local))
    ]
    assert np.array_equal(*outputs)


def test_clients_import_no_model_runtime():
    code = (
        "import sys; from plugin_bridge import AsyncBridgeClient, BridgeClient, BridgeProcessor;"
        "assert not {'onnxruntime', 'pedalboard', 'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

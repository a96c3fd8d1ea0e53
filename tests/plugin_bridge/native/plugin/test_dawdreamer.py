"""The VST3 in DawDreamer: a host of JUCE's kind with a time line and automation."""

import numpy as np
import pytest

from plugin_bridge import load_vst3
from plugin_bridge.plugin.state import with_texts

pytestmark = pytest.mark.slow
dawdreamer = pytest.importorskip("dawdreamer", exc_type=ImportError)
pytest.importorskip("pedalboard")
RATE, BLOCK = 48_000, 512
GLIDE = RATE * 5 // 1000


@pytest.fixture
def render(built, home, address, monkeypatch, tmp_path):
    """What comes out for a mixture, in time with it: (2, frames).

    Automation is a parameter's name to its value, from 0 to 1, in each frame.
    """
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(address))
    bundle, preset = built / "audiosep.vst3", tmp_path / "drums.vstpreset"
    saved = load_vst3("Drum kit", path=bundle)
    saved.raw_state = with_texts(saved.raw_state, {"prompt3": "Speech"})
    preset.write_bytes(saved.preset_data)

    def run(audio, **automation):
        engine = dawdreamer.RenderEngine(RATE, BLOCK)
        plugin = engine.make_plugin_processor("plugin", str(bundle))
        assert plugin.load_vst3_preset(str(preset))
        plugin.disable_nonmain_buses()
        late = plugin.get_latency_samples()
        known = plugin.get_plugin_parameters_description()
        numbers = {each["name"].lower(): each["index"] for each in known}
        for name, values in automation.items():
            values = np.pad(values, (0, late + RATE), mode="edge").astype(np.float32)
            plugin.set_automation(numbers[name], values)
        tape = np.pad(audio, ((0, 0), (0, late + RATE)))
        player = engine.make_playback_processor("tape", tape)
        engine.load_graph([(player, []), (plugin, ["tape"])])
        engine.render(tape.shape[1] / RATE)
        return plugin.get_audio()[:2, late : late + audio.shape[1]]

    return run


def test_a_render_is_what_the_engine_gives(render, separated, music):
    audio = music(2, 2 * RATE)
    np.testing.assert_allclose(render(audio), separated(audio), atol=1e-6)


def test_strength_mix_and_output_are_automated(render, separated, music):
    """Levels and strength are heard with the frame that they were drawn at."""
    audio = music(2, RATE)
    turned = 40 * BLOCK
    steps = np.arange(RATE) >= turned
    target = separated(audio)
    rest = audio - target
    np.testing.assert_allclose(
        render(audio, output=steps)[:, turned + GLIDE :], rest[:, turned + GLIDE :], atol=1e-6
    )
    half = render(audio, mix=np.full(RATE, 0.5))
    np.testing.assert_allclose(half, target + 0.5 * rest, atol=1e-6)
    muted = render(audio, mute=steps)
    level = np.clip(1 - np.arange(1 - turned, RATE - turned + 1) / GLIDE, 0, 1)
    np.testing.assert_allclose(muted, level.astype(np.float32) * target, atol=1e-6)
    harder = render(audio, strength=np.full(RATE, (2 - 0.25) / 3.75))
    np.testing.assert_allclose(harder, separated(audio, strength=2), atol=1e-5)


def test_the_prompt_is_automated(render, separated, music):
    audio = music(2, 2 * RATE)
    at, back = 40 * BLOCK, 99 * BLOCK
    frames = np.arange(audio.shape[1])
    out = render(audio, prompt=2 / 7 * ((frames >= at) & (frames < back)))
    expected = separated(audio, changes=[(at, "Speech"), (back, "Drum kit")])
    np.testing.assert_allclose(out, expected, atol=1e-6)

"""The VST3 inside pedalboard's own boards, against a real server."""

import gc
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from audiosep_core import Separator
from plugin_bridge import BridgeClient, failed_seconds, load_vst3
from plugin_bridge.plugin.state import texts_of, with_texts

pytestmark = pytest.mark.slow
pedalboard = pytest.importorskip("pedalboard")
RATE = 48_000
QUERY = "Drum kit"
MODES = ("Render", "Mix", "Track", "Live")


@pytest.fixture
def reach(monkeypatch, address, home):
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(address))


@pytest.fixture
def nobody(monkeypatch, home):
    monkeypatch.setenv("AUDIOSEP_ADDRESS", str(home / "nobody.sock"))


@pytest.fixture
def load(built):
    return lambda prompt=QUERY, **options: load_vst3(
        prompt, path=built / "audiosep.vst3", **options
    )


def reason_of(plugin):
    return texts_of(plugin.raw_state)["reason"]


def test_a_native_board_gives_what_the_engine_gives(load, reach, separated, music):
    audio = music(2, 3 * RATE)
    plugin = load()
    board = pedalboard.Pedalboard([plugin])
    np.testing.assert_allclose(board(audio, RATE), separated(audio), atol=1e-6)
    assert failed_seconds(plugin) == 0


def test_it_stands_between_native_plugins(load, reach, separated, music):
    audio = music(2, 2 * RATE)
    before, behind = pedalboard.Compressor(-20, 4), pedalboard.Gain(-6)
    out = pedalboard.Pedalboard([before, load(), behind])(audio, RATE)
    expected = behind(separated(before(audio, RATE)), RATE)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_residual_and_mix(load, reach, separated, music):
    audio = music(2, 2 * RATE)
    plugin = load(output="Residual", mix=75)
    target = separated(audio)
    np.testing.assert_allclose(plugin(audio, RATE), audio - 0.75 * target, atol=1e-6)


def test_the_session_keeps_the_words(load, reach, separated, music, built):
    audio = music(2, 2 * RATE)
    plugin = load()
    out = plugin(audio, RATE)
    again = pedalboard.VST3Plugin(str(built / "audiosep.vst3"))
    again.raw_state = plugin.raw_state
    assert texts_of(again.raw_state)["prompt1"] == QUERY
    np.testing.assert_array_equal(again(audio, RATE), out)


def test_another_slot_is_another_sound(load, reach, separated, music):
    audio = music(2, 2 * RATE)
    plugin = load()
    plugin.raw_state = with_texts(plugin.raw_state, {"prompt3": "Speech"})
    plugin.prompt = 3
    expected = separated(audio, "Speech")
    np.testing.assert_allclose(plugin(audio, RATE), expected, atol=1e-6)


@pytest.mark.parametrize("rate", [44_100, 48_000, 88_200, 96_000, 176_400, 192_000])
@pytest.mark.parametrize("mode", MODES)
def test_the_latency_is_known_without_a_server(load, nobody, address, mode, rate):
    """Before the first block it is what a server will tell."""
    with (
        BridgeClient(socket=address.path) as client,
        client.open("drums", rate, 2, mode.lower()) as stream,
    ):
        told = stream.latency_samples
    plugin = load(mode=mode)
    plugin(np.zeros((2, 512), np.float32), rate)
    assert plugin.reported_latency_samples == told
    if mode == "Live":
        assert told <= 0.035 * rate


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_gives_what_the_engine_gives(load, reach, separated, music, mode):
    audio = music(2, 2 * RATE)
    plugin = load(mode=mode)
    np.testing.assert_allclose(plugin(audio, RATE), separated(audio, mode=mode.lower()), atol=1e-6)
    assert failed_seconds(plugin) == 0


def test_a_change_of_mode_reports_its_latency(load, reach, music):
    plugin = load()
    plugin(music(2, RATE), RATE)
    before = plugin.reported_latency_samples
    plugin.mode = "Live"
    plugin(music(2, RATE), RATE)
    assert plugin.reported_latency_samples <= 0.035 * RATE < before


def test_the_session_keeps_the_model(load, reach, separated, music, built):
    audio = music(2, 2 * RATE)
    plugin = load()
    plugin.raw_state = with_texts(plugin.raw_state, {"model": "live"})
    expected = separated(audio, model=Separator("live", device="cpu"))
    np.testing.assert_allclose(plugin(audio, RATE), expected, atol=1e-6)
    again = pedalboard.VST3Plugin(str(built / "audiosep.vst3"))
    again.raw_state = plugin.raw_state
    np.testing.assert_allclose(again(audio, RATE), expected, atol=1e-6)
    assert again.reported_latency_samples == plugin.reported_latency_samples


@pytest.mark.parametrize(
    ("model", "reason"),
    [("none-such", "no model 'none-such' is installed"), ("x" * 64, "has at most 63 bytes")],
)
def test_an_unknown_model_leaves_the_mixture_and_says_so(
    load, reach, music, wait_until, model, reason
):
    audio = music(2, RATE)
    plugin = load()
    plugin.raw_state = with_texts(plugin.raw_state, {"model": model})
    np.testing.assert_array_equal(plugin(audio, RATE), audio)
    assert failed_seconds(plugin) > 1
    wait_until(lambda: reason in reason_of(plugin))


def test_without_server_the_mixture_plays_and_the_remedy_is_told(load, nobody, music, wait_until):
    audio = music(2, RATE)
    plugin = load()
    np.testing.assert_array_equal(plugin(audio, RATE), audio)
    wait_until(lambda: 'run "audiosep plugin install" or "audiosep serve"' in reason_of(plugin))


def test_a_program_that_is_gone_is_told(load, nobody, music, wait_until, monkeypatch, home):
    monkeypatch.setenv("AUDIOSEP_PROGRAM", str(home / "bin" / "audiosep"))
    audio = music(2, RATE)
    plugin = load()
    np.testing.assert_array_equal(plugin(audio, RATE), audio)
    wait_until(lambda: "program is gone" in reason_of(plugin))


def test_a_bounce_without_server_says_so(load, nobody, music):
    plugin = load()
    for _ in range(2):  # Each counts anew.
        plugin(music(2, RATE), RATE)
        # The host gives as much silence as the plug-in is late.
        late = plugin.reported_latency_samples
        assert failed_seconds(plugin) == pytest.approx((late + RATE) / RATE)


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("", "Type what you want to hear"),
        (" ", "Type what you want to hear"),
        ("x" * 10_000, "10000 characters is too long; shorten it to 512"),
    ],
)
def test_words_that_cannot_be_asked_for_leave_the_mixture(
    load, reach, music, wait_until, prompt, reason
):
    audio = music(2, RATE)
    plugin = load()
    plugin.raw_state = with_texts(plugin.raw_state, {"prompt1": prompt})
    np.testing.assert_array_equal(plugin(audio, RATE), audio)
    assert texts_of(plugin.raw_state)["prompt1"] == prompt
    wait_until(lambda: reason in reason_of(plugin))


def test_emoji_and_a_newer_session(load, reach, music, wait_until):
    audio = music(2, RATE)
    plugin = load("🥁 drums")
    plugin.raw_state = with_texts(plugin.raw_state, {"version": "99"})
    assert texts_of(plugin.raw_state)["prompt1"] == "🥁 drums"
    assert np.isfinite(plugin(audio, RATE)).all()
    assert failed_seconds(plugin) == 0
    wait_until(lambda: "Saved by a newer version" in reason_of(plugin))


def test_rate_and_block_size_may_change(load, reach, music):
    plugin = load(mode="Track")
    for rate, block in [(48_000, 64), (44_100, 8192), (48_000, 997)]:
        out = plugin.process(music(2, rate), rate, block)
        assert out.shape == (2, rate)
        assert np.isfinite(out).all()
        assert failed_seconds(plugin) == 0


def test_twenty_instances_leave_nothing(load, reach, held):
    load()(np.zeros((2, 512), np.float32), RATE)
    gc.collect()
    before = threading.active_count()
    with held(os.getpid()):
        plugins = [load() for _ in range(20)]
        for plugin in plugins:
            plugin(np.zeros((2, 512), np.float32), RATE)
        assert len(list(Path("/proc/self/task").iterdir())) >= 20
        del plugin, plugins
        gc.collect()
    assert threading.active_count() == before

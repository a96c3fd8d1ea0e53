"""The latency modes: their limits, their windows, and what cannot be had."""

import dataclasses
from types import SimpleNamespace

import pytest

from audiosep_core.errors import ModeError
from audiosep_core.model.config import SeparatorConfig, get_config
from audiosep_core.signal.windows import Windows
from plugin_bridge.live.latency import stream_latency
from plugin_bridge.live.modes import WindowSeconds, mode_windows

MODELS = ["mini-windowed", "audiosep-base", "audiosep-paper"]


def bundle(config):
    return SimpleNamespace(config=config, context_seconds=1.6)


@pytest.mark.parametrize("name", MODELS)
def test_modes_keep_to_their_limits(name):
    config = get_config(name)
    latency = {
        mode: stream_latency(mode_windows(mode, bundle(config)), config, 48_000).total
        for mode in ("render", "mix", "track")
    }
    assert latency["track"] <= 16_383
    assert latency["mix"] <= 72_000
    assert latency["track"] < latency["mix"] < latency["render"]
    # One more frame would be too much: the mode uses what it is given.
    windows = mode_windows("track", bundle(config))
    longer = dataclasses.replace(windows, look_ahead=windows.look_ahead + 1)
    assert stream_latency(longer, config, 48_000).total > 16_383


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("mode", ["render", "mix", "track", WindowSeconds(0.3, 0.7, 0.1)])
def test_windows_are_what_the_network_takes(name, mode):
    config = get_config(name)
    windows = mode_windows(mode, bundle(config))
    assert windows.frames % config.frame_multiple == 0
    assert windows.cost == windows.frames / windows.hop


def test_offline_windows_divide_into_cells_and_stay_cheap():
    for name in MODELS:
        windows = mode_windows("render", bundle(get_config(name)))
        assert windows.hop % 32 == windows.context % 32 == windows.look_ahead % 32 == 0
        assert windows.cost <= 1.35 + 1e-9


def test_own_windows_are_rounded_up():
    config = get_config("mini-windowed")
    assert WindowSeconds(0.512, 0.0, 0.0).windows(config) == Windows(32, 0, 0)
    assert WindowSeconds(0.001, 0.0, 0.02).windows(config) == Windows(1, 29, 2)
    assert mode_windows(Windows(5, 3, 2), bundle(config)) == Windows(5, 25, 2)


@pytest.mark.parametrize("parts", [(0, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1e-9)])
def test_impossible_windows(parts):
    with pytest.raises(ValueError, match="hop"):
        WindowSeconds(*parts)


@pytest.mark.parametrize("parts", [(0, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1)])
def test_impossible_windows_of_frames(parts):
    with pytest.raises(ValueError, match="hop"):
        Windows(*parts)


@pytest.mark.parametrize("parts", [(float("nan"), 1, 1), (1, float("inf"), 1)])
def test_windows_without_end(parts):
    with pytest.raises(ModeError, match="finite"):
        WindowSeconds(*parts)


@pytest.mark.parametrize("mode", ["alive", "", None, 3])
def test_unknown_modes(mode):
    with pytest.raises(ModeError, match="mode must be"):
        mode_windows(mode, bundle(get_config("mini-windowed")))


def test_models_that_cannot():
    long = SeparatorConfig(name="long", n_fft=128 * 100, hop_length=3200, widths=(8,) * 6)
    with pytest.raises(ModeError, match="cannot keep to mode 'track'"):
        mode_windows("track", bundle(long))
    longer = SeparatorConfig(name="longer", n_fft=128 * 400, hop_length=3200, widths=(8,) * 6)
    with pytest.raises(ModeError, match="cannot keep to mode 'mix'"):
        mode_windows("mix", bundle(longer))

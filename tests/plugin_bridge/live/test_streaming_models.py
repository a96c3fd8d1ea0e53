"""Live use of streaming networks: latency to the sample, modes, partitions, changes."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.errors import ModeError
from audiosep_core.model import installed
from audiosep_core.model.installed import default_model
from audiosep_core.model.state import NetworkState
from audiosep_core.model.streaming_config import LIVE, MINI
from audiosep_core.signal.windows import Steps
from plugin_bridge import StreamingSeparator, WindowSeconds
from plugin_bridge.live.latency import stream_latency
from plugin_bridge.live.modes import mode_windows

STUDIO = [44_100, 48_000, 88_200, 96_000, 176_400, 192_000]


class AllPass:
    """A network of a given time structure that passes everything, as late as it says."""

    def __init__(self, config):
        self.config = config

    def start(self, conditions):
        return NetworkState(conditions, np.zeros((len(conditions), 1, 1, 1), np.float32), {})

    def prepare(self, rows, frames):
        pass

    def step(self, magnitude, state):
        masks = np.zeros((len(state.conditions), 3, *magnitude.shape), np.float32)
        masks[:, :2] = 1
        return masks, state


@pytest.fixture(scope="module")
def model(step_network):
    """What the engine takes of a Separator: bundle, encoder and estimator."""

    def make(**changes):
        config = dataclasses.replace(step_network.config, **changes)
        encoder = SimpleNamespace(embed=lambda texts: np.ones((len(texts), 6), np.float32))
        bundle = SimpleNamespace(config=config, context_seconds=0.0)
        return SimpleNamespace(bundle=bundle, encoder=encoder, estimator=AllPass(config))

    return make


def engine(separator, rate, mode="track", **kind):
    stream = StreamingSeparator.__new__(StreamingSeparator)
    StreamingSeparator.__init__(stream, "drums", rate, 1, mode, as_separator(separator), **kind)
    return stream


def as_separator(separator):
    from audiosep_core import Separator

    made = Separator.__new__(Separator)
    made.bundle, made.encoder, made.estimator = (
        separator.bundle,
        separator.encoder,
        separator.estimator,
    )
    return made


@pytest.mark.parametrize("rate", [*STUDIO, 22_050, 32_000, 47_999])
@pytest.mark.parametrize("look_ahead", [0, 16])
def test_what_passes_is_late_by_what_was_declared(model, rate, look_ahead):
    stream = engine(model(look_ahead=look_ahead), rate)
    impulse = np.zeros((1, rate // 2), np.float32)
    impulse[0, 1000] = 1
    out = np.concatenate([stream.process(impulse), stream.flush()], -1)[0]
    assert int(np.abs(out).argmax()) == 1000 + stream.latency_samples


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([44_100, 48_000, 96_000, 32_000]),
    st.lists(st.integers(1, 4000), min_size=1, max_size=12),
)
def test_never_runs_dry(model, rate, blocks):
    stream = engine(model(), rate)
    rng = np.random.default_rng(2)
    for count in blocks:
        block = rng.normal(size=(1, count)).astype(np.float32)
        assert stream.process(block).shape == block.shape


@pytest.mark.parametrize("rate", STUDIO)
def test_latency_is_the_sum_of_its_frames(model, rate):
    config = model().bundle.config
    latency = stream_latency(Steps(2), config, rate)
    hop = rate // 75
    assert (latency.resampling, latency.buffering) == (0, 0)
    assert latency.total == (2 + 16 + 3) * hop - 1
    live = dataclasses.replace(config, frame_rate=150, synthesis=2, look_ahead=0)
    assert stream_latency(Steps(1), live, rate).total == 2 * (rate // 150) - 1


@pytest.mark.parametrize("rate", STUDIO)
def test_live_answers_within_20_ms_and_mini_within_341(rate):
    live = stream_latency(Steps(LIVE.step_frames), LIVE, rate)
    assert LIVE.step_frames == 2 and LIVE.look_ahead == 0
    assert live.total == 3 * rate // 150 - 1 <= 0.02 * rate
    assert (live.resampling, live.buffering) == (0, 0)
    mini = stream_latency(Steps(MINI.step_frames), MINI, rate)
    assert mini.total == 23 * rate // 75 - 1 <= 16_383 * rate / 48_000


@pytest.mark.parametrize("config", [MINI, LIVE], ids=lambda config: config.name)
def test_modes_of_what_ships(config):
    bundle = SimpleNamespace(config=config, context_seconds=0.0)
    for mode in ("render", "mix", "track"):
        assert mode_windows(mode, bundle) == Steps(config.step_frames)
    if config is LIVE:
        assert mode_windows("live", bundle) == Steps(2)
    else:
        with pytest.raises(ModeError, match="mode 'live' leaves 960"):
            mode_windows("live", bundle)


def test_live_is_played_through_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(installed, "installed_models", lambda: {"mini": None, "live": None})
    assert [default_model(mode) for mode in ("live", "track", Steps(2))] == ["live", "mini", "mini"]
    monkeypatch.setattr(installed, "installed_models", lambda: {"mini": None})
    assert default_model("live") == "mini"


def test_modes_that_fit(model):
    slow = model().bundle
    assert mode_windows("render", slow) == mode_windows("track", slow) == Steps(2)
    with pytest.raises(ModeError, match="mode 'live' leaves 960"):
        mode_windows("live", slow)
    quick = model(frame_rate=150, synthesis=2, look_ahead=0).bundle
    assert mode_windows("live", quick) == Steps(2)
    with pytest.raises(ModeError, match="has no windows"):
        mode_windows(WindowSeconds(0.1, 0.1, 0.1), slow)


def test_a_model_of_windows_cannot_be_played_through(windowed):
    with pytest.raises(ModeError, match="cannot be played through"):
        StreamingSeparator("drums", 48_000, 1, "live", windowed)


def test_the_real_network_gives_the_same_bits_in_any_blocks(model, step_network):
    separator = model()
    separator.estimator = step_network
    sound = np.random.default_rng(4).normal(size=(1, 20_000)).astype(np.float32)
    whole = engine(separator, 48_000)
    expected = np.concatenate([whole.process(sound), whole.flush()], -1)
    parts = engine(separator, 48_000)
    cut = [parts.process(part) for part in np.split(sound, [1, 64, 577, 9000], 1)]
    np.testing.assert_array_equal(np.concatenate([*cut, parts.flush()], -1), expected)

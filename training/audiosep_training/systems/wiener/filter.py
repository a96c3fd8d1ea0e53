"""The Wiener filter that the paper compares speech enhancement with.

Gain ξ / (1 + ξ) for each bin, where ξ, the speech-to-noise ratio, is estimated by the
decision-directed rule (Ephraim and Malah 1984; Scalart and Filho 1996) and the noise by its
probability of being alone (Gerkmann and Hendriks 2012). Nothing is learned and the query is not
heard: what changes slowly is noise, the rest is the target.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiosep_core.signal.stft import Analysis, Synthesis

_WINDOW_SECONDS = 0.032
_HOPS = 4
#: Frames, the quietest of all, that the noise is first taken from.
_FIRST_FRAMES = 8
_NOISE_SMOOTHING = 0.8
_PRESENCE_SMOOTHING = 0.9
_MOST_PRESENCE = 0.99
#: Speech-to-noise ratio that speech is assumed to have where it is present: 15 dB.
_TYPICAL_RATIO = 10**1.5
_DECISION_SMOOTHING = 0.98
#: Least speech-to-noise ratio, -25 dB: what is left of the noise masks musical tones.
_LEAST_RATIO = 10**-2.5
_FLOOR = 1e-12


class WienerFilter:
    """Speech enhancement without learning; for ``--compare``."""

    def separate(
        self, mixture: NDArray[np.float32], sample_rate: int, query: str = ""
    ) -> NDArray[np.float32]:
        """The speech in a recording; every channel for itself.

        Args:
            mixture: (channels, samples) float32.
            sample_rate: In Hz.
            query: Not heard.
        """
        channels, samples = mixture.shape
        hop = max(1, round(_WINDOW_SECONDS * sample_rate / _HOPS))
        analysis = Analysis(_HOPS * hop, hop, channels)
        spectra = np.concatenate([analysis.push(mixture), analysis.finish()], axis=1)
        power = np.square(np.abs(spectra)).astype(np.float64)
        gain = wiener_gain(power).astype(np.float32)
        synthesis = Synthesis(_HOPS * hop, hop, (channels,))
        pieces = [synthesis.push((spectra * gain).astype(np.complex64)), synthesis.finish()]
        return np.ascontiguousarray(np.concatenate(pieces, axis=-1)[:, :samples])


def wiener_gain(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gain in 0…1 for each bin of a power spectrogram (channels, frames, bins)."""
    power = np.maximum(power, _FLOOR)
    quietest = np.argsort(power.sum(-1), axis=1)[:, :_FIRST_FRAMES, None]
    noise = np.take_along_axis(power, quietest, axis=1).mean(1)
    presence = np.full_like(noise, 0.5)
    speech = np.zeros_like(noise)
    gains = np.empty_like(power)
    for frame in range(power.shape[1]):
        now = power[:, frame]
        noise, presence = _track(now, noise, presence)
        instant = np.maximum(now / noise - 1, 0)
        ratio = _DECISION_SMOOTHING * speech / noise + (1 - _DECISION_SMOOTHING) * instant
        ratio = np.maximum(ratio, _LEAST_RATIO)
        gains[:, frame] = ratio / (1 + ratio)
        speech = np.square(gains[:, frame]) * now
    return gains


def _track(
    power: NDArray[np.float64], noise: NDArray[np.float64], presence: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Noise power, and the smoothed probability that speech is present, after one more frame."""
    exponent = power / noise * (_TYPICAL_RATIO / (1 + _TYPICAL_RATIO))
    likely = 1 / (1 + (1 + _TYPICAL_RATIO) * np.exp(-np.minimum(exponent, 200)))
    presence = _PRESENCE_SMOOTHING * presence + (1 - _PRESENCE_SMOOTHING) * likely
    # Where speech seems to be present for ever, the noise has risen: let it follow.
    likely = np.where(presence > _MOST_PRESENCE, np.minimum(likely, _MOST_PRESENCE), likely)
    expected = likely * noise + (1 - likely) * power
    followed = _NOISE_SMOOTHING * noise + (1 - _NOISE_SMOOTHING) * expected
    return np.maximum(followed, _FLOOR), presence

"""What masks can do at best: made with the target itself, as a bound that no separator passes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from audiosep_core.files.items import Audio, MixtureAndTarget

_WINDOW_SECONDS = 0.032
_OVERLAPPING = 4


class Ideal:
    """A separator that is given the answer.

    Args:
        mask: From magnitudes of the target and of the rest to the mask of the mixture.
    """

    def __init__(self, mask: Callable[[NDArray, NDArray], NDArray]) -> None:
        self._mask = mask

    def of(self, sounds: MixtureAndTarget) -> Audio:
        """The mixture times the mask: (channels, frames) float32."""
        size = 2 ** round(np.log2(_WINDOW_SECONDS * sounds.sample_rate))
        fft = ShortTimeFFT(hann(size, sym=False), size // _OVERLAPPING, sounds.sample_rate)
        frames = sounds.mixture.shape[-1]
        if frames < size:
            wide = ((0, 0), (0, size - frames))
            mixture, target = (np.pad(audio, wide) for audio in _parts(sounds))
            return self.of(MixtureAndTarget(mixture, target, sounds.sample_rate))[:, :frames]
        whole, part = (fft.stft(audio.astype(np.float64)) for audio in _parts(sounds))
        mask = self._mask(np.abs(part), np.abs(whole - part))
        return np.asarray(fft.istft(whole * mask, k1=frames), np.float32)


def ratio(target: NDArray, rest: NDArray) -> NDArray:
    """Share of the target's magnitude."""
    return target / np.maximum(target + rest, 1e-12)


def binary(target: NDArray, rest: NDArray) -> NDArray:
    """1 where the target is the louder one."""
    return (target > rest).astype(np.float64)


#: By the names that ``--compare`` knows.
IDEALS = {"ideal-ratio-mask": ratio, "ideal-binary-mask": binary}


def _parts(sounds: MixtureAndTarget) -> tuple[Audio, Audio]:
    return sounds.mixture, sounds.target
